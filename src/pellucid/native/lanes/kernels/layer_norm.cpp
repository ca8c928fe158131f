// Normalisation over the channels of each pixel: what ConvNeXt's layer norm over the last dimension of NHWC is here.
//
//   forward:   y = (x - mean) r weight + bias, r = 1 / sqrt(variance + eps), over the C numbers of a pixel and picture
//   gradient:  with n = (x - mean) r, g = dy weight:  dx = r (g - mean(g) - n mean(g n)),
//              dweight = sum of dy n, dbias = sum of dy, over pictures and pixels
//
// Some neighbouring pixels at a time are copied to scratch memory as they are summed: channels are M vectors apart, and
// reading them again might not find them in the cache (M a power of two maps them to few of its sets).
#include "../functions.h"
#include "../kernels.h"
#include "../lane_sums.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

// x, y, dx and statistics begin at the pixel.
template <int kPixels>
void ForwardPixels(const LayerNormArguments& a, const float* x, float* y, float* statistics) {
  const int64_t plane = int64_t(a.M) * kLanes;
  float* copy = pellucid_lanes_scratch(0, int64_t(a.C) * kPixels * kLanes);
  Vector mean[kPixels] = {}, apart[kPixels] = {}, squares[kPixels] = {};
  for (int32_t c = 0; c < a.C; c++)
    PELLUCID_UNROLL(8)
    for (int b = 0; b < kPixels; b++) {
      const Vector v = Load(x + c * plane + b * kLanes);
      Store(copy + (c * kPixels + b) * kLanes, v);
      mean[b] += v;
    }
  // The deviations from the mean as it came out of the sum, and what they say of its error.
  for (int b = 0; b < kPixels; b++) mean[b] = a.centred ? mean[b] / float(a.C) : Vector{};
  for (int32_t c = 0; c < a.C; c++)
    PELLUCID_UNROLL(8)
    for (int b = 0; b < kPixels; b++) {
      const Vector d = Load(copy + (c * kPixels + b) * kLanes) - mean[b];
      apart[b] += d;
      squares[b] += d * d;
    }
  Vector r[kPixels];
  for (int b = 0; b < kPixels; b++) {
    const Vector error = a.centred ? apart[b] / float(a.C) : Vector{};
    const Vector variance = squares[b] / float(a.C) - error * error;
    mean[b] += error;
    r[b] = 1.0f / SquareRoot(variance + a.eps);
    Store(statistics + 2 * b * kLanes, mean[b]);
    Store(statistics + (2 * b + 1) * kLanes, r[b]);
  }
  for (int32_t c = 0; c < a.C; c++) {
    const Vector weight = InRegister(a.weight ? a.weight[c] : 1.0f), bias = InRegister(a.bias ? a.bias[c] : 0.0f);
    PELLUCID_UNROLL(8)
    for (int b = 0; b < kPixels; b++)
      Store(y + c * plane + b * kLanes, (Load(copy + (c * kPixels + b) * kLanes) - mean[b]) * r[b] * weight + bias);
  }
}

// totals: [2][C][L], of dy n and dy, added to.
template <int kPixels>
void GradientPixels(const LayerNormArguments& a, const float* x, const float* dy, float* dx, const float* statistics,
                    float* totals) {
  const int64_t plane = int64_t(a.M) * kLanes;
  float* normal = pellucid_lanes_scratch(0, int64_t(a.C) * kPixels * kLanes);
  float* weighted = pellucid_lanes_scratch(1, int64_t(a.C) * kPixels * kLanes);
  Vector mean[kPixels], r[kPixels], sum[kPixels] = {}, product[kPixels] = {};
  for (int b = 0; b < kPixels; b++) {
    mean[b] = Load(statistics + 2 * b * kLanes);
    r[b] = Load(statistics + (2 * b + 1) * kLanes);
  }
  for (int32_t c = 0; c < a.C; c++) {
    const Vector weight = InRegister(a.weight ? a.weight[c] : 1.0f);
    Vector by_weight = Load(totals + int64_t(c) * kLanes), by_bias = Load(totals + int64_t(a.C + c) * kLanes);
    PELLUCID_UNROLL(8)
    for (int b = 0; b < kPixels; b++) {
      const Vector d = Load(dy + c * plane + b * kLanes), n = (Load(x + c * plane + b * kLanes) - mean[b]) * r[b];
      by_weight += d * n;
      by_bias += d;
      const Vector g = d * weight;
      sum[b] += g;
      product[b] += g * n;
      Store(normal + (c * kPixels + b) * kLanes, n);
      Store(weighted + (c * kPixels + b) * kLanes, g);
    }
    Store(totals + int64_t(c) * kLanes, by_weight);
    Store(totals + int64_t(a.C + c) * kLanes, by_bias);
  }
  if (dx == nullptr) return;
  for (int b = 0; b < kPixels; b++) {
    sum[b] = a.centred ? sum[b] / float(a.C) : Vector{};
    product[b] = product[b] / float(a.C);
  }
  for (int32_t c = 0; c < a.C; c++)
    PELLUCID_UNROLL(8)
    for (int b = 0; b < kPixels; b++) {
      const int64_t i = (int64_t(c) * kPixels + b) * kLanes;
      const Vector d = r[b] * (Load(weighted + i) - sum[b] - Load(normal + i) * product[b]);
      float* out = dx + c * plane + b * kLanes;
      Store(out, a.accumulate ? Load(out) + d : d);
    }
}

// Pixels at a time: many, so that what is read of a channel is more than a line, but what is copied stays in the cache.
PELLUCID_INLINE int32_t Step(const LayerNormArguments& a, int32_t m) {
  const int32_t left = a.M - m;
  return left >= 8 && a.C <= 256 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

}  // namespace

// By groups.
void PixelNormForward(const void* arguments, const PellucidUnits* units) {
  const LayerNormArguments& a = *static_cast<const LayerNormArguments*>(arguments);
  for (int64_t g = units->begin; g < units->end; g++)
    for (int32_t m = 0, step; m < a.M; m += step) {
      const float* x = a.x + g * a.x_group + int64_t(m) * kLanes;
      float* y = a.y + g * a.y_group + int64_t(m) * kLanes;
      float* statistics = a.statistics + (g * a.M + m) * 2 * kLanes;
      switch (step = Step(a, m)) {
        case 8: ForwardPixels<8>(a, x, y, statistics); break;
        case 4: ForwardPixels<4>(a, x, y, statistics); break;
        case 2: ForwardPixels<2>(a, x, y, statistics); break;
        default: ForwardPixels<1>(a, x, y, statistics); break;
      }
    }
}

// By groups: dx where it is wanted, and the slot's sums where they are.
void PixelNormGradient(const void* arguments, const PellucidUnits* units) {
  const LayerNormArguments& a = *static_cast<const LayerNormArguments*>(arguments);
  float* totals = pellucid_lanes_scratch(2, int64_t(a.C) * 2 * kLanes);
  for (int64_t g = units->begin; g < units->end; g++) {
    memset(totals, 0, sizeof(float) * size_t(a.C) * 2 * kLanes);
    for (int32_t m = 0, step; m < a.M; m += step) {
      const float* x = a.x + g * a.x_group + int64_t(m) * kLanes;
      const float* dy = a.y + g * a.y_group + int64_t(m) * kLanes;
      float* dx = a.dx ? a.dx + g * a.dx_group + int64_t(m) * kLanes : nullptr;
      const float* statistics = a.statistics + (g * a.M + m) * 2 * kLanes;
      switch (step = Step(a, m)) {
        case 8: GradientPixels<8>(a, x, dy, dx, statistics, totals); break;
        case 4: GradientPixels<4>(a, x, dy, dx, statistics, totals); break;
        case 2: GradientPixels<2>(a, x, dy, dx, statistics, totals); break;
        default: GradientPixels<1>(a, x, dy, dx, statistics, totals); break;
      }
    }
    if (a.sums != nullptr)
      StoreLaneSums(totals, int64_t(a.C) * 2, LiveLanes(g == a.G - 1 ? a.live : kLanes),
                    units->first && g == units->begin, a.sums + units->slot * a.sums_slot);
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
