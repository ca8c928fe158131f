// Linear layers. By groups, forward and input's gradient are one product, with the weight as it is or transposed:
//
//   out[g, m] = start + sum over j of weight(m, j) in[g, j]
//   forward: m = o, j = i, weight(m, j) = w[m I + j]; input's gradient: m = i, j = o, weight(m, j) = w[j I + m]
//
// Lanes are pictures, weights are splat: one multiply-add a term, in the order of j, so all targets give the same bits.
// A large weight streams from memory once for all groups: a block of registers is some m for up to 4 groups, and j goes
// in pieces so that the groups' in[g, j] stay in L2, and those rows of weights in L1.
//
// The other two have features in the lanes. The weight's gradient splats dy, and x is turned to [I / 64][n][64] for it
// by linear_pack; the input's gradient for all groups splats dy too, and turns its result:
//
//   dw[o, i .. i + L] = sum over n of dy[n, o] x[n, i .. i + L]
//   dx[n, i .. i + L] = sum over o of dy[n, o] w[o, i .. i + L]
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr bool kManyRegisters = kLanes == 16;  // 32 vector registers, else 16
constexpr int64_t kCacheFloats = 3 << 16;      // that stay in L2: 768 KB
constexpr int kPanel = 64;                     // features of x that stand together in `packed`

// How many m a block of registers holds for so many groups.
constexpr int RowsFor(int groups) {
  if (kManyRegisters) return groups >= 4 ? 6 : 12;
  return groups >= 4 ? 3 : groups >= 2 ? 6 : 8;
}

struct Product {
  const float* in;     // [G][J][L]
  const float* w;      // weight(0, 0)
  const float* start;  // [M] or null for 0
  float* out;          // [G][M][L]
  int64_t in_group, out_group, I;
  bool accumulate;  // onto what is in out
};

struct Range {
  int64_t first, last;
};

// MB rows from m on, GB groups from g on, terms j: from the start, or from what is in out.
template <bool kTransposed, int MB, int GB>
void Block(const Product& p, int64_t g, int64_t m, Range j, bool more) {
  float* out = p.out + g * p.out_group + m * kLanes;
  Vector sum[GB][MB];
  PELLUCID_UNROLL(12)
  for (int b = 0; b < GB; b++)
    PELLUCID_UNROLL(12)
    for (int i = 0; i < MB; i++)
      sum[b][i] = more                 ? Load(out + b * p.out_group + i * kLanes)
                  : p.start != nullptr ? Splat(p.start[m + i])
                                       : Vector{};
  const float* in = p.in + g * p.in_group + j.first * kLanes;
  const float* w = p.w + (kTransposed ? j.first * p.I + m : m * p.I + j.first);
  const int64_t across = kTransposed ? 1 : p.I, along = kTransposed ? p.I : 1, in_group = p.in_group;
  for (int64_t n = j.last - j.first; n > 0; n--, in += kLanes, w += along) {
    if constexpr (GB == 1) {
      const Vector v = Load(in);
      PELLUCID_UNROLL(12)
      for (int i = 0; i < MB; i++) sum[0][i] += v * w[i * across];
    } else {
      Vector s[MB];
      PELLUCID_UNROLL(12)
      for (int i = 0; i < MB; i++) s[i] = InRegister(w[i * across]);
      PELLUCID_UNROLL(12)
      for (int b = 0; b < GB; b++) {
        const Vector v = LoadOnce(in + b * in_group);
        PELLUCID_UNROLL(12)
        for (int i = 0; i < MB; i++) sum[b][i] += v * s[i];
      }
    }
  }
  PELLUCID_UNROLL(12)
  for (int b = 0; b < GB; b++)
    PELLUCID_UNROLL(12)
    for (int i = 0; i < MB; i++) Store(out + b * p.out_group + i * kLanes, sum[b][i]);
}

typedef void (*BlockFunction)(const Product&, int64_t, int64_t, Range, bool);

template <bool kTransposed, int GB, int MB = RowsFor(GB)>
BlockFunction ChooseBlock(int64_t rows) {
  if constexpr (MB > 1)
    if (rows < MB) return ChooseBlock<kTransposed, GB, MB - 1>(rows);
  return Block<kTransposed, MB, GB>;
}

// Rows m of all groups given, terms 0 <= j < terms.
template <bool kTransposed>
void Multiply(const Product& p, Range groups, Range m, int64_t terms) {
  const int64_t G = groups.last - groups.first, M = m.last - m.first;
  const int64_t piece = Most(64, Least(1024, kCacheFloats / (G * kLanes) / 64 * 64));
  const int64_t most = RowsFor(int(Least(G, 4))), blocks = (M + most - 1) / most;
  for (int64_t j = 0; j == 0 || j < terms; j += piece) {
    const Range part = {j, Least(terms, j + piece)};
    const bool more = j > 0 || p.accumulate;
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t first = m.first + b * M / blocks, rows = m.first + (b + 1) * M / blocks - first;
      int64_t g = groups.first;
      for (; g + 4 <= groups.last; g += 4) ChooseBlock<kTransposed, 4>(rows)(p, g, first, part, more);
      if (g + 2 <= groups.last) ChooseBlock<kTransposed, 2>(rows)(p, g, first, part, more), g += 2;
      if (g < groups.last) ChooseBlock<kTransposed, 1>(rows)(p, g, first, part, more);
    }
  }
}

Product ForwardProduct(const LinearArguments& a) { return {a.x, a.w, a.bias, a.y, a.x_group, a.y_group, a.I, false}; }
Product InputProduct(const LinearArguments& a) {
  return {a.y, a.w, nullptr, a.x, a.y_group, a.x_group, a.I, a.accumulate != 0};
}

// Features of one group turned: packed[i / kPanel][row .. row + L)[kPanel], panels panel_floats apart; zeros past I.
void Turn(const float* x, int64_t I, float* packed, int64_t panel_floats) {
  for (int64_t i = 0; i < I; i += kLanes) {
    Vector r[kLanes];
    for (int64_t k = 0; k < kLanes; k++) r[k] = i + k < I ? Load(x + (i + k) * kLanes) : Vector{};
    Transpose(r);
    float* to = packed + i / kPanel * panel_floats + i % kPanel;
    for (int l = 0; l < kLanes; l++) Store(to + l * kPanel, r[l]);
  }
}

constexpr int kOutputs = 6;                       // of a block of registers
constexpr int kVectors = kManyRegisters ? 4 : 2;  // of features

// dw of OB outputs (dy from y on) and V vectors of features (from x on) over all pictures. count: features to write.
template <int OB, int V>
void Gradient(const float* y, int64_t y_group, int64_t groups, const float* x, float* w, int64_t I, int64_t count) {
  Vector sum[OB][V] = {};
  for (int64_t g = 0; g < groups; g++, y += y_group)
    for (int l = 0; l < kLanes; l++, x += kPanel) {
      Vector v[V];
      PELLUCID_UNROLL(8)
      for (int i = 0; i < V; i++) v[i] = Load(x + i * kLanes);
      PELLUCID_UNROLL(8)
      for (int o = 0; o < OB; o++) {
        const Vector d = InRegister(y[o * kLanes + l]);
        PELLUCID_UNROLL(8)
        for (int i = 0; i < V; i++) sum[o][i] += d * v[i];
      }
    }
  PELLUCID_UNROLL(8)
  for (int o = 0; o < OB; o++) {
    float row[V * kLanes];
    PELLUCID_UNROLL(8)
    for (int i = 0; i < V; i++) memcpy(row + i * kLanes, &sum[o][i], sizeof sum[o][i]);
    if (count >= V * kLanes)
      memcpy(w + o * I, row, sizeof row);
    else
      memcpy(w + o * I, row, size_t(count) * sizeof(float));
  }
}

typedef void (*GradientFunction)(const float*, int64_t, int64_t, const float*, float*, int64_t, int64_t);

template <int V = kVectors, int OB = kOutputs>
GradientFunction ChooseGradient(int64_t outputs, int64_t features) {
  if constexpr (V > 1)
    if (features <= (V - 1) * kLanes) return ChooseGradient<V - 1, OB>(outputs, features);
  if constexpr (OB > 1)
    if (outputs < OB) return ChooseGradient<V, OB - 1>(outputs, features);
  return Gradient<OB, V>;
}

// dw and dbias (either may be null) of some outputs.
void WriteOutputs(const LinearArguments& a, Range outputs) {
  const int64_t O = outputs.last - outputs.first, blocks = (O + kOutputs - 1) / kOutputs;
  const int64_t panel_floats = a.G * kLanes * kPanel;
  for (int64_t i = 0; a.w != nullptr && i < a.I; i += kVectors * kLanes) {
    const float* x = a.packed + i / kPanel * panel_floats + i % kPanel;
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t o = outputs.first + b * O / blocks, rows = outputs.first + (b + 1) * O / blocks - o;
      ChooseGradient(rows, a.I - i)(a.y + o * kLanes, a.y_group, a.G, x, a.w + o * a.I + i, a.I, a.I - i);
    }
  }
  for (int64_t o = outputs.first; a.bias != nullptr && o < outputs.last; o++) {
    Vector sum{};
    for (int64_t g = 0; g < a.G; g++) sum += Load(a.y + g * a.y_group + o * kLanes);
    a.bias[o] = Sum(sum);
  }
}

constexpr int64_t kTerms = 96;           // outputs whose weights for one panel stay in L1: 24 KB
constexpr int64_t kSumFloats = 1 << 17;  // of dx that are in the making: 512 KB

// dx of NB pictures (dy from y on) and kVectors vectors of features, so many terms, onto sums[NB][kPanel].
// w: [o][kPanel].
template <int NB>
void Back(const float* y, const float* w, int64_t terms, float* sums) {
  Vector sum[NB][kVectors];
  PELLUCID_UNROLL(8)
  for (int n = 0; n < NB; n++)
    PELLUCID_UNROLL(8)
    for (int i = 0; i < kVectors; i++) sum[n][i] = Load(sums + n * kPanel + i * kLanes);
  for (; terms > 0; terms--, y += kLanes, w += kPanel) {
    Vector v[kVectors];
    PELLUCID_UNROLL(8)
    for (int i = 0; i < kVectors; i++) v[i] = LoadOnce(w + i * kLanes);
    PELLUCID_UNROLL(8)
    for (int n = 0; n < NB; n++) {
      const Vector d = InRegister(y[n]);
      PELLUCID_UNROLL(8)
      for (int i = 0; i < kVectors; i++) sum[n][i] += d * v[i];
    }
  }
  PELLUCID_UNROLL(8)
  for (int n = 0; n < NB; n++)
    PELLUCID_UNROLL(8)
    for (int i = 0; i < kVectors; i++) Store(sums + n * kPanel + i * kLanes, sum[n][i]);
}

// Rows of weights that come next, fetched a row at a time between blocks.
struct Rows {
  const float* at;
  int64_t floats, step, count;

  void FetchOne() {
    for (int64_t i = 0; count > 0 && i < floats; i += 16) __builtin_prefetch(at + i, 0, 2);
    at += step, count--;
  }
};

// Some terms for the pictures of all groups and one panel of features; sums [G L][kPanel].
void BackPanel(const LinearArguments& a, Range terms, const float* w, float* sums, Rows& next) {
  const int64_t count = terms.last - terms.first;
  for (int64_t g = 0; g < a.G; g++) {
    const float* y = a.y + g * a.y_group + terms.first * kLanes;
    for (int64_t v = 0; v < kPanel; v += kVectors * kLanes)
      for (int l = 0; l < kLanes;) {  // 16 pictures are 4 + 6 + 6
        next.FetchOne();
        float* to = sums + (g * kLanes + l) * kPanel + v;
        if ((kLanes - l) % 6 == 0)
          Back<6>(y + l, w + v, count, to), l += 6;
        else
          Back<4>(y + l, w + v, count, to), l += 4;
      }
  }
}

// dx of `count` features from i on, for all groups.
void BackInputs(const LinearArguments& a, int64_t i, int64_t count) {
  const int64_t panels = (count + kPanel - 1) / kPanel, panel_sums = a.G * kLanes * kPanel;
  float* sums = pellucid_lanes_scratch(1, panels * panel_sums);
  float* w = pellucid_lanes_scratch(0, panels * kTerms * kPanel);
  memset(sums, 0, size_t(panels * panel_sums) * sizeof(float));
  memset(w, 0, size_t(panels * kTerms * kPanel) * sizeof(float));
  for (int64_t o = 0; o < a.O; o += kTerms) {
    const Range terms = {o, Least(a.O, o + kTerms)};
    for (int64_t t = terms.first; t < terms.last; t++)
      for (int64_t panel = 0; panel < panels; panel++)
        memcpy(w + (panel * kTerms + t - o) * kPanel, a.w + t * a.I + i + panel * kPanel,
               size_t(Least(kPanel, count - panel * kPanel)) * sizeof(float));
    Rows next{a.w + terms.last * a.I + i, count, a.I, Least(kTerms, a.O - terms.last)};
    for (int64_t panel = 0; panel < panels; panel++)
      BackPanel(a, terms, w + panel * kTerms * kPanel, sums + panel * panel_sums, next);
  }
  for (int64_t g = 0; g < a.G; g++)
    for (int64_t v = 0; v < count; v += kLanes) {
      Vector r[kLanes];
      const float* from = sums + v / kPanel * panel_sums + g * kLanes * kPanel + v % kPanel;
      for (int l = 0; l < kLanes; l++) r[l] = Load(from + l * kPanel);
      Transpose(r);
      float* x = a.x + g * a.x_group + (i + v) * kLanes;
      for (int64_t c = 0; c < Least(kLanes, count - v); c++)
        Store(x + c * kLanes, a.accumulate ? Load(x + c * kLanes) + r[c] : r[c]);
    }
}

PELLUCID_INLINE int64_t Panels(int64_t I) { return (I + kPanel - 1) / kPanel; }

}  // namespace

// By groups.
void LinearForward(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++) Multiply<false>(ForwardProduct(a), {g, g + 1}, {0, a.O}, a.I);
}

// Units: blocks of `block` outputs, for all groups.
void LinearForwardBlocks(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  const Range outputs = {range->begin * a.block, Least(a.O, range->end * a.block)};
  if (outputs.first < outputs.last) Multiply<false>(ForwardProduct(a), {0, a.G}, outputs, a.I);
}

// By groups.
void LinearInputGradient(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++) Multiply<true>(InputProduct(a), {g, g + 1}, {0, a.I}, a.O);
}

// Units: blocks of `block` inputs, best a multiple of kPanel, for all groups.
void LinearInputGradientBlocks(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  const int64_t end = Least(a.I, range->end * a.block);
  const int64_t most = Most(1, kSumFloats / (int64_t{a.G} * kLanes * kPanel)) * kPanel;
  for (int64_t i = range->begin * a.block; i < end; i += most) BackInputs(a, i, Least(most, end - i));
}

// By groups: x into `packed`, for the kernel below.
void LinearPack(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++)
    Turn(a.x + g * a.x_group, a.I, a.packed + g * kLanes * kPanel, int64_t{a.G} * kLanes * kPanel);
}

// Units: blocks of `block` outputs, for all groups; w and bias (or null for what nobody wants) are written whole. Reads `packed`, not x.
void LinearWeightGradientBlocks(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  const Range outputs = {range->begin * a.block, Least(a.O, range->end * a.block)};
  if (outputs.first < outputs.last) WriteOutputs(a, outputs);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
