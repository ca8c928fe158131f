// Normalisation over the pixels of some channels of a picture: group norm, instance norm, layer norm over C, H and W.
//
//   forward:   y = (x - mean) r weight + bias, r = 1 / sqrt(variance + eps), over the n = C / norm_groups M numbers of a set
//   gradient:  with d = x - mean, g = dy weight:  dx = r g - r mean(g) - d r^3 mean(g d),
//              dweight = sum of dy d r, dbias = sum of dy, over pictures (and pixels, if weights are channels')
//
// A set is n neighbouring vectors. They are read once for the mean and the variance, as distances from a number near them,
// so that a large mean costs the variance nothing.
#include "../functions.h"
#include "../kernels.h"
#include "../lane_sums.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int64_t kChunk = 256;

struct Moments {
  Vector mean;
  Vector squares;  // the sum of those of the distances from the mean
};

// The mean of the first chunk is the shift, a number near all others: a set's deviation is at least sqrt(kChunk / n) of
// the distance between the shift and its mean, so that taking the square of that distance away loses few bits.
PELLUCID_INLINE Vector Shift(const float* x, int64_t n) {
  Vector sum[4] = {};
  for (int64_t i = 0; i < n; i += 4)
    PELLUCID_UNROLL(4)
    for (int64_t j = 0; j < 4; j++)
      if (i + j < n) sum[j] += Load(x + (i + j) * kLanes);
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) / float(n);
}

PELLUCID_INLINE Moments SetMoments(const float* x, int64_t n, bool centred) {
  const Vector shift = centred ? Shift(x, Least(n, kChunk)) : Vector{};
  Vector total{}, total_squares{};
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    const int64_t end = Least(n, begin + kChunk);
    Vector sum[4] = {}, squares[4] = {};
    for (int64_t i = begin; i < end; i += 4)
      PELLUCID_UNROLL(4)
      for (int64_t j = 0; j < 4; j++)
        if (i + j < end) {
          const Vector d = Load(x + (i + j) * kLanes) - shift;
          sum[j] += d;
          squares[j] += d * d;
        }
    total += (sum[0] + sum[1]) + (sum[2] + sum[3]);
    total_squares += (squares[0] + squares[1]) + (squares[2] + squares[3]);
  }
  if (!centred) return {Vector{}, total_squares};
  const Vector distance = total / float(n);
  return {shift + distance, total_squares - total * distance};
}

// The numbers of one set: where its channels begin, and n.
struct Set {
  int32_t channel;
  int32_t channels;
  int64_t n;
};

PELLUCID_INLINE Set SetOf(const LayerNormArguments& a, int32_t i) {
  const int32_t channels = a.C / a.norm_groups;
  return {i * channels, channels, int64_t(channels) * a.M};
}

PELLUCID_INLINE float Or(const float* numbers, int64_t i, float otherwise) { return numbers ? numbers[i] : otherwise; }

void ForwardSet(const LayerNormArguments& a, const Set& set, const float* x, float* y, float* statistics) {
  const Moments found = SetMoments(x, set.n, a.centred);
  const Vector mean = found.mean, r = 1.0f / SquareRoot(found.squares / float(set.n) + a.eps);
  Store(statistics, mean);
  Store(statistics + kLanes, r);
  for (int32_t c = 0; c < set.channels; c++) {
    const int64_t begin = int64_t(c) * a.M, channel = set.channel + c;
    if (a.elementwise) {
      for (int64_t i = begin; i < begin + a.M; i++)
        Store(y + i * kLanes, (Load(x + i * kLanes) - mean) * (r * Or(a.weight, channel * a.M + i - begin, 1)) +
                                  Or(a.bias, channel * a.M + i - begin, 0));
      continue;
    }
    const Vector scale = r * Or(a.weight, channel, 1), bias = InRegister(Or(a.bias, channel, 0));
    PELLUCID_UNROLL(4)
    for (int64_t i = begin; i < begin + a.M; i++)
      Store(y + i * kLanes, (Load(x + i * kLanes) - mean) * scale + bias);
  }
}

// Over a set's numbers.
struct GradientSums {
  Vector g;
  Vector product;  // g d
};

// totals: [2][C][L], the channels' sums of dy d r and dy are written there.
GradientSums ChannelSums(const LayerNormArguments& a, const Set& set, const float* x, const float* dy, Vector mean, Vector r,
                    float* totals) {
  Vector g{}, product{};
  for (int32_t c = 0; c < set.channels; c++) {
    const int64_t begin = int64_t(c) * a.M, end = begin + a.M, channel = set.channel + c;
    Vector sum[4] = {}, by_distance[4] = {};
    for (int64_t i = begin; i < end; i += 4)
      PELLUCID_UNROLL(4)
      for (int64_t j = 0; j < 4; j++)
        if (i + j < end) {
          const Vector d = Load(dy + (i + j) * kLanes);
          sum[j] += d;
          by_distance[j] += d * (Load(x + (i + j) * kLanes) - mean);
        }
    const Vector s = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    const Vector p = (by_distance[0] + by_distance[1]) + (by_distance[2] + by_distance[3]);
    g += s * Or(a.weight, channel, 1);
    product += p * Or(a.weight, channel, 1);
    Store(totals + channel * kLanes, p * r);
    Store(totals + (a.C + channel) * kLanes, s);
  }
  return {g, product};
}

// The same with a weight for each number, whose gradients are added to the slot's sums if there are any.
GradientSums ElementSums(const LayerNormArguments& a, const Set& set, const float* x, const float* dy, Vector mean, Vector r,
                    Integers live, bool first, float* sums) {
  Vector g{}, product{}, some[kLanes];
  const int64_t all = int64_t(a.C) * a.M, begin = int64_t(set.channel) * a.M;
  for (int64_t i = 0; i < set.n; i += kLanes) {
    const int64_t count = Least(kLanes, set.n - i);
    for (int64_t j = 0; j < count; j++) {
      const Vector d = Load(dy + (i + j) * kLanes), by_distance = d * (Load(x + (i + j) * kLanes) - mean);
      g += d * Or(a.weight, begin + i + j, 1);
      product += by_distance * Or(a.weight, begin + i + j, 1);
      some[j] = by_distance * r;
    }
    if (sums == nullptr) continue;
    StoreLaneSums(reinterpret_cast<const float*>(some), count, live, first, sums + begin + i);
    StoreLaneSums(dy + i * kLanes, count, live, first, sums + all + begin + i);
  }
  return {g, product};
}

void InputGradientSet(const LayerNormArguments& a, const Set& set, const float* x, const float* dy, float* dx,
                      Vector mean, Vector r, const GradientSums& sums) {
  const Vector take = a.centred ? r * sums.g / float(set.n) : Vector{};
  const Vector slope = r * r * r * sums.product / float(set.n);
  for (int32_t c = 0; c < set.channels; c++) {
    const int64_t begin = int64_t(c) * a.M, channel = set.channel + c;
    Vector scale = r * (a.elementwise ? 1.0f : Or(a.weight, channel, 1));
    for (int64_t i = begin; i < begin + a.M; i++) {
      if (a.elementwise) scale = r * Or(a.weight, channel * a.M + i - begin, 1);
      const Vector d = Load(dy + i * kLanes) * scale - take - (Load(x + i * kLanes) - mean) * slope;
      Store(dx + i * kLanes, a.accumulate ? Load(dx + i * kLanes) + d : d);
    }
  }
}

}  // namespace

// By groups.
void GroupNormForward(const void* arguments, const PellucidUnits* units) {
  const LayerNormArguments& a = *static_cast<const LayerNormArguments*>(arguments);
  for (int64_t g = units->begin; g < units->end; g++)
    for (int32_t i = 0; i < a.norm_groups; i++) {
      const Set set = SetOf(a, i);
      const int64_t begin = i * set.n * kLanes;
      ForwardSet(a, set, a.x + g * a.x_group + begin, a.y + g * a.y_group + begin,
                 a.statistics + (g * a.norm_groups + i) * 2 * kLanes);
    }
}

// By groups: dx where it is wanted, and the slot's sums where they are.
void GroupNormGradient(const void* arguments, const PellucidUnits* units) {
  const LayerNormArguments& a = *static_cast<const LayerNormArguments*>(arguments);
  float* totals = pellucid_lanes_scratch(0, int64_t(a.C) * 2 * kLanes);
  for (int64_t g = units->begin; g < units->end; g++) {
    const Integers live = LiveLanes(g == a.G - 1 ? a.live : kLanes);
    const bool first = units->first && g == units->begin;
    float* sums = a.sums ? a.sums + units->slot * a.sums_slot : nullptr;
    for (int32_t i = 0; i < a.norm_groups; i++) {
      const Set set = SetOf(a, i);
      const int64_t begin = i * set.n * kLanes;
      const float* x = a.x + g * a.x_group + begin;
      const float* dy = a.y + g * a.y_group + begin;
      const float* statistics = a.statistics + (g * a.norm_groups + i) * 2 * kLanes;
      const Vector mean = Load(statistics), r = Load(statistics + kLanes);
      const GradientSums of_g = a.elementwise ? ElementSums(a, set, x, dy, mean, r, live, first, sums)
                                         : ChannelSums(a, set, x, dy, mean, r, totals);
      if (a.dx != nullptr) InputGradientSet(a, set, x, dy, a.dx + g * a.dx_group + begin, mean, r, of_g);
    }
    if (sums != nullptr && !a.elementwise) StoreLaneSums(totals, int64_t(a.C) * 2, live, first, sums);
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
