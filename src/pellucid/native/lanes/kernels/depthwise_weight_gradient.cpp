// The weight's gradient of a depthwise convolution.
//
//   dw[k, r, s] = sum over pictures, p, q of dy[k, p, q] x[c, p stride_h + r dilation_h - pad_h, q stride_w + ...]
//
// For one row of taps a block of dy's vectors stays in registers; each vector of x is read once for all of the block's
// products. The sums are whole vectors, in interleaved parts so that consecutive multiply-adds do not wait for one
// another, and are summed over the lanes once for each map. Some rows of the output at a time are done for all rows of
// taps, so that they and their input are in L1.
#include "../depthwise_rows.h"
#include "../kernels.h"
#include "../lane_sums.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int kMost = kLanes == 16 ? 8 : 4;  // vectors of dy in a block: AVX2 and SSE have half the registers

// x: at the first tap of the first of kCount outputs.
template <int kTaps, int kStep, int kChains, int kCount>
PELLUCID_INLINE void AddBlock(const float* x, const float* dy, Vector* sums) {
  Vector d[kCount];
  PELLUCID_UNROLL(8)
  for (int b = 0; b < kCount; b++) d[b] = LoadOnce(dy + b * kLanes);
  PELLUCID_UNROLL(32)
  for (int v = 0; v < (kCount - 1) * kStep + kTaps; v++) {
    if (v % kStep >= kTaps) continue;
    const Vector in = LoadOnce(x + v * kLanes);
    PELLUCID_UNROLL(8)
    for (int t = 0; t < kTaps; t++)
      if (v >= t && (v - t) % kStep == 0 && (v - t) / kStep < kCount)
        sums[t * kChains + (v - t) / kStep % kChains] += d[(v - t) / kStep] * in;
  }
}

// Output rows [p, end) of one map against row r of the taps; sums [S][chains] go on.
struct Rows {
  const ConvolutionArguments& a;
  const PaddedRows& x;
  const float* dy;
  Blocks blocks;
  int32_t r, p, end;
  float* sums;
};

template <int kTaps, int kStep, int kChains, int kCount>
void AddRows(const Rows& rows) {
  const ConvolutionArguments& a = rows.a;
  const Blocks blocks = rows.blocks;
  Vector sum[kTaps * kChains];
  for (int i = 0; i < kTaps * kChains; i++) sum[i] = Load(rows.sums + i * kLanes);
  for (int32_t p = rows.p; p < rows.end; p++) {
    const int32_t h = p * a.stride_h + rows.r * a.dilation_h - a.pad_h;
    if (h < 0 || h >= a.H) continue;
    const float* x = rows.x.At(h) - int64_t(a.pad_w) * kLanes;
    const float* dy = rows.dy + int64_t(p) * a.Q * kLanes;
    for (int32_t i = 0; i < blocks.wide; i++, x += kCount * kStep * kLanes, dy += kCount * kLanes)
      AddBlock<kTaps, kStep, kChains, kCount>(x, dy, sum);
    if constexpr (kCount > 1)
      for (int32_t i = 0; i < blocks.narrow; i++, x += (kCount - 1) * kStep * kLanes, dy += (kCount - 1) * kLanes)
        AddBlock<kTaps, kStep, kChains, kCount - 1>(x, dy, sum);
  }
  for (int i = 0; i < kTaps * kChains; i++) Store(rows.sums + i * kLanes, sum[i]);
}

// The same for any taps, stride and dilation.
void AddAnyRows(const Rows& rows) {
  const ConvolutionArguments& a = rows.a;
  for (int32_t p = rows.p; p < rows.end; p++) {
    const int32_t h = p * a.stride_h + rows.r * a.dilation_h - a.pad_h;
    if (h < 0 || h >= a.H) continue;
    const float* dy = rows.dy + int64_t(p) * a.Q * kLanes;
    const int64_t step = int64_t(a.stride_w) * kLanes;
    for (int32_t s = 0; s < a.S; s++) {
      const float* x = rows.x.At(h) + (int64_t(s) * a.dilation_w - a.pad_w) * kLanes;
      Vector sum[4] = {};
      int64_t q = 0;
      for (; q + 4 <= a.Q; q += 4)
        PELLUCID_UNROLL(4)
        for (int64_t i = 0; i < 4; i++) sum[i] += Load(dy + (q + i) * kLanes) * Load(x + (q + i) * step);
      for (; q < a.Q; q++) sum[0] += Load(dy + q * kLanes) * Load(x + q * step);
      Store(rows.sums + s * kLanes, Load(rows.sums + s * kLanes) + ((sum[0] + sum[1]) + (sum[2] + sum[3])));
    }
  }
}

struct Choice {
  void (*function)(const Rows&);
  int32_t chains;
};

template <int kTaps, int kStep, int kChains>
Choice OfSize(int32_t size) {
  if constexpr (kMost == 8) switch (size) {
      case 5: return {AddRows<kTaps, kStep, kChains, 5>, kChains};
      case 6: return {AddRows<kTaps, kStep, kChains, 6>, kChains};
      case 7: return {AddRows<kTaps, kStep, kChains, 7>, kChains};
      case 8: return {AddRows<kTaps, kStep, kChains, 8>, kChains};
    }
  switch (size) {
    case 1: return {AddRows<kTaps, kStep, kChains, 1>, kChains};
    case 2: return {AddRows<kTaps, kStep, kChains, 2>, kChains};
    case 3: return {AddRows<kTaps, kStep, kChains, 3>, kChains};
    default: return {AddRows<kTaps, kStep, kChains, 4>, kChains};
  }
}

Choice Choose(const ConvolutionArguments& a, int32_t size) {
  constexpr int kTwo = kMost == 8 ? 2 : 1;
  if (a.dilation_w == 1 && a.stride_w == 1) switch (a.S) {
      case 3: return OfSize<3, 1, 3>(size);
      case 5: return OfSize<5, 1, kTwo>(size);
      case 7: return OfSize<7, 1, kTwo>(size);
    }
  if (a.dilation_w == 1 && a.stride_w == 2) switch (a.S) {
      case 3: return OfSize<3, 2, 3>(size);
      case 5: return OfSize<5, 2, kTwo>(size);
      case 7: return OfSize<7, 2, kTwo>(size);
    }
  return {AddAnyRows, 1};
}

// Output rows at a time.
int32_t ChunkRows(const ConvolutionArguments& a) {
  const int64_t row = (int64_t(a.Q) + int64_t(a.W) * a.stride_h) * kLanes * 4;
  return int32_t(Most(2, Least(a.P, 24 * 1024 / row)));
}

// dw of one map, added to or written: w[R S], and the sum of dy to bias[0] if there is one.
void GradientPlane(const ConvolutionArguments& a, const Choice& choice, const Blocks& blocks, PaddedRows& x,
                   const float* dy, Integers live, bool first, float* w, float* bias) {
  const int32_t row = a.S * choice.chains;
  float* sums = pellucid_lanes_scratch(0, int64_t(a.R) * row * kLanes);
  memset(sums, 0, sizeof(float) * size_t(a.R) * row * kLanes);
  const int32_t chunk = ChunkRows(a);
  for (int32_t p = 0; p < a.P; p += chunk) {
    const int32_t end = int32_t(Least(a.P, p + chunk));
    x.FillTo((end - 1) * a.stride_h + (a.R - 1) * a.dilation_h - a.pad_h);
    for (int32_t r = 0; r < a.R; r++)
      choice.function(Rows{a, x, dy, blocks, r, p, end, sums + int64_t(r) * row * kLanes});
  }
  const int32_t taps = a.R * a.S;
  for (int32_t t = 0; t < taps; t++) {  // the interleaved parts of each tap, where its first part is
    Vector sum = Load(sums + int64_t(t) * choice.chains * kLanes);
    for (int32_t j = 1; j < choice.chains; j++) sum += Load(sums + (int64_t(t) * choice.chains + j) * kLanes);
    Store(sums + int64_t(t) * kLanes, sum);
  }
  StoreLaneSums(sums, taps, live, first, w);
  if (bias == nullptr) return;
  Vector sum[4] = {};
  const int64_t pixels = int64_t(a.P) * a.Q;
  for (int64_t i = 0; i < pixels; i += 4)
    PELLUCID_UNROLL(4)
    for (int64_t j = 0; j < 4; j++)
      if (i + j < pixels) sum[j] += Load(dy + (i + j) * kLanes);
  const float total = Sum(Select(live, (sum[0] + sum[1]) + (sum[2] + sum[3]), Vector{}));
  *bias = first ? total : *bias + total;
}

}  // namespace

// By groups. w: partial sums [slots][K R S]; bias, if not null: partial sums of dL/dbias [slots][K], w_slot apart too.
void DepthwiseWeightGradient(const void* arguments, const PellucidUnits* units) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const Blocks blocks = Blocks::Of(a.Q, kMost);
  const Choice choice = Choose(a, blocks.size);
  const int64_t last = int64_t(a.Q - 1) * a.stride_w + int64_t(a.S - 1) * a.dilation_w - a.pad_w;
  const int32_t size = (ChunkRows(a) - 1) * a.stride_h + (a.R - 1) * a.dilation_h + 1;
  PaddedRows x = PaddedRows::Of(1, a.W, a.H, -a.pad_w, last, size);
  const int64_t x_plane = int64_t(a.H) * a.W * kLanes, y_plane = int64_t(a.P) * a.Q * kLanes;
  for (int64_t g = units->begin; g < units->end; g++) {
    const Integers live = LiveLanes(g == a.G - 1 ? a.live : kLanes);
    const bool first = units->first && g == units->begin;
    for (int32_t k = 0; k < a.K; k++) {
      x.Begin(a.x + g * a.x_group + k / (a.K / a.C) * x_plane);
      GradientPlane(a, choice, blocks, x, a.y + g * a.y_group + k * y_plane, live, first,
                    a.w + units->slot * a.w_slot + int64_t(k) * a.R * a.S,
                    a.bias ? a.bias + units->slot * a.w_slot + k : nullptr);
    }
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
