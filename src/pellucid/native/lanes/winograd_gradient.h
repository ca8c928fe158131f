// The weight's gradient by Winograd's method: for each point, sums[k][c] = sum over tiles and pictures of (A dL/dy
// A')[k] (B' x B)[c], and dL/dw = G' sums G once at the end.
//
// The sum runs over tiles *and* lanes, so lanes must not hold pictures in both factors: the points of x are turned so
// that a vector holds L channels of one picture, and those of dL/dy are broadcast. Then it is a matrix product whose
// sums over the batch stay in registers, and no sum over lanes is ever taken.
//   x points   [point][4 vectors of channels][picture of tile][4][L]     (the last block has fewer than 4 vectors)
//   dy points  [point][k][picture of tile]                               picture of tile n = tile L + lane
//   sums       [point][K][Cp]                                            Cp = C rounded up to L
#pragma once

#include "kernels.h"
#include "winograd_ahead.h"
#include "winograd_transform.h"

namespace pellucid::lanes::PELLUCID_ISA {
namespace {

constexpr int kMostVectors = kLanes == 16 ? 4 : 2;  // of channels in a register block
constexpr int kMostKernels = 8;                     // in one

// Points of x for one tile, one pair of rows and L channels from c on, turned: store(point, picture, vector of
// channels).
template <int M, int PAIR, typename S>
PELLUCID_INLINE void TurnedInputPair(const WinogradArguments& a, const float* x, int64_t c, int h, int w,
                                     const S& store) {
  constexpr int A = M + 2;
  alignas(64) float edge[A * A * kLanes], turned[2 * A * kLanes * kLanes];
  const int64_t channels = Least(kLanes, a.C - c);
  for (int64_t i = 0; i < channels; i++) {
    int64_t row;
    const float* window = Window<A>({x + (c + i) * a.H * a.W * kLanes, a.H, a.W}, h, w, edge, row);
    float* out = turned + i * kLanes;
    InputPair<M, PAIR>(window, row, [out](int point, Vector v) {
      const int place = point / A == FirstRow<M>(PAIR) ? point % A : A + point % A;
      Store(out + place * kLanes * kLanes, v);
    });
  }
  for (int place = 0; place < 2 * A; place++) {
    Vector v[kLanes];
    PELLUCID_UNROLL(16)
    for (int i = 0; i < kLanes; i++) v[i] = i < channels ? Load(turned + (place * kLanes + i) * kLanes) : Vector{};
    Transpose(v);
    const int point = place < A ? FirstRow<M>(PAIR) * A + place : SecondRow<M>(PAIR) * A + place - A;
    PELLUCID_UNROLL(16)
    for (int l = 0; l < kLanes; l++) store(point, l, v[l]);
  }
}

// Where the points of x stand: `pictures` of tiles in all.
struct TurnedPoints {
  float* points;
  int64_t plane, vectors, pictures;
  static TurnedPoints Of(float* p, int64_t plane, int64_t C, int64_t pictures) {
    return {p, plane, (C + kLanes - 1) / kLanes, pictures};
  }
  int64_t width(int64_t block) const { return Least(kMostVectors, vectors - block * kMostVectors); }
  float* of(int64_t point, int64_t block, int64_t picture) const {
    return points + point * plane + (block * kMostVectors * pictures + picture * width(block)) * kLanes;
  }
};

// Points of x for tiles [begin, end) of a group, as pictures from `picture` on; pairs of rows [first, last).
template <int M, bool STREAM>
PELLUCID_INLINE void TurnInput(const WinogradArguments& a, int64_t group, int64_t begin, int64_t end, int64_t picture,
                               int first, int last, const TurnedPoints& out) {
  const int64_t across = (a.Q + M - 1) / M;
  const float* x = a.x + group * a.x_group;
  for (int64_t vector = 0; vector < out.vectors; vector++)
    for (int64_t t = begin; t < end; t++) {
      const int h = int(t / across * M) - a.pad_h, w = int(t % across * M) - a.pad_w;
      const int64_t block = vector / kMostVectors, step = out.width(block) * kLanes;
      float* to = out.of(0, block, picture + (t - begin) * kLanes) + vector % kMostVectors * kLanes;
      const auto store = [&](int point, int l, Vector v) {
        float* p = to + point * out.plane + l * step;
        if constexpr (STREAM)
          Stream(p, v);
        else
          Store(p, v);
      };
      if (first <= 0 && last > 0) TurnedInputPair<M, 0>(a, x, vector * kLanes, h, w, store);
      if (first <= 1 && last > 1) TurnedInputPair<M, 1>(a, x, vector * kLanes, h, w, store);
      if constexpr (M == 4)
        if (first <= 2 && last > 2) TurnedInputPair<M, 2>(a, x, vector * kLanes, h, w, store);
    }
}

// Points of dL/dy for kernels [k, k_end) of the same tiles: [point][kernel - k][tile][L], rows `row` floats apart.
template <int M, bool STREAM>
PELLUCID_INLINE void TransformOutputGradient(const WinogradArguments& a, int64_t group, int64_t begin, int64_t end,
                                             int64_t k, int64_t k_end, int first, int last, float* points,
                                             int64_t plane, int64_t row) {
  const int64_t across = (a.Q + M - 1) / M;
  alignas(64) float edge[M * M * kLanes];
  for (int64_t kernel = k; kernel < k_end; kernel++) {
    const Plane pictures{a.y + group * a.y_group + kernel * a.P * a.Q * kLanes, a.P, a.Q};
    for (int64_t t = begin; t < end; t++) {
      int64_t step;
      const float* y = Window<M>(pictures, int(t / across * M), int(t % across * M), edge, step);
      float* to = points + (kernel - k) * row + (t - begin) * kLanes;
      const auto store = [=](int point, Vector v) {
        if constexpr (STREAM)
          Stream(to + point * plane, v);
        else
          Store(to + point * plane, v);
      };
      if (first <= 0 && last > 0) OutputGradientPair<M, 0>(y, step, store);
      if (first <= 1 && last > 1) OutputGradientPair<M, 1>(y, step, store);
      if constexpr (M == 4)
        if (first <= 2 && last > 2) OutputGradientPair<M, 2>(y, step, store);
    }
  }
}

// bias[k] += sum of dL/dy, picture by picture; begins says whether from 0.
PELLUCID_INLINE void SumBias(const WinogradArguments& a, int64_t group, int64_t k, int64_t k_end, float* bias,
                             bool begins) {
  const int64_t pixels = int64_t(a.P) * a.Q;
  for (; k < k_end; k++) {
    const float* y = a.y + group * a.y_group + k * pixels * kLanes;
    Vector even{}, odd{};
    for (int64_t i = 0; i + 1 < pixels; i += 2) {
      even += Load(y + i * kLanes);
      odd += Load(y + (i + 1) * kLanes);
    }
    if (pixels % 2) even += Load(y + (pixels - 1) * kLanes);
    bias[k] = (begins ? 0.0f : bias[k]) + Sum(even + odd);
  }
}

struct GradientProduct {
  const float* x;   // [picture][vectors][L]
  const float* dy;  // [k][picture], rows dy_row floats apart
  float* sums;      // [k][..], rows sums_row floats apart
  int64_t dy_row, sums_row, pictures;
  bool begins;  // whether the sums begin at 0
  Ahead* ahead;
};

template <int KERNELS, int VECTORS>
PELLUCID_INLINE void GradientBlock(const GradientProduct& p) {
  Vector sum[KERNELS][VECTORS];
  PELLUCID_UNROLL(8)
  for (int k = 0; k < KERNELS; k++) {
    PELLUCID_UNROLL(4)
    for (int v = 0; v < VECTORS; v++) sum[k][v] = p.begins ? Vector{} : Load(p.sums + k * p.sums_row + v * kLanes);
  }
  const float* x = p.x;
  const float* dy = p.dy;
  PELLUCID_UNROLL(8)
  for (int k = KERNELS; k < 2 * KERNELS; k++) {  // the next block's
    for (int64_t n = 0; n < p.pictures; n += kLine) __builtin_prefetch(dy + k * p.dy_row + n);
    PELLUCID_UNROLL(4)
    for (int v = 0; v < VECTORS; v++) __builtin_prefetch(p.sums + k * p.sums_row + v * kLanes, 1);
  }
  for (int64_t n = 0; n < p.pictures; n++, dy++, x += VECTORS * kLanes) {
    Vector channels[VECTORS];
    PELLUCID_UNROLL(4)
    for (int v = 0; v < VECTORS; v++) channels[v] = Load(x + v * kLanes);
    PELLUCID_UNROLL(8)
    for (int k = 0; k < KERNELS; k++) {
      const Vector d = InRegister(dy[k * p.dy_row]);
      PELLUCID_UNROLL(4)
      for (int v = 0; v < VECTORS; v++) sum[k][v] += channels[v] * d;
    }
  }
  PELLUCID_UNROLL(8)
  for (int k = 0; k < KERNELS; k++) {
    PELLUCID_UNROLL(4)
    for (int v = 0; v < VECTORS; v++) Store(p.sums + k * p.sums_row + v * kLanes, sum[k][v]);
  }
}

template <int VECTORS>
__attribute__((noinline)) void GradientKernels(const GradientProduct& all, int64_t kernels) {
  constexpr int kMost = VECTORS == 4 || (kLanes != 16 && VECTORS == 2) ? 6 : kMostKernels;
  const Blocks blocks(kernels, kMost);
  for (int64_t i = 0; i < blocks.count; i++) {
    GradientProduct p = all;
    p.dy += blocks.begin(i) * p.dy_row;
    p.sums += blocks.begin(i) * p.sums_row;
    p.ahead->Step();
    switch (blocks.length(i)) {
      case 1: GradientBlock<1, VECTORS>(p); break;
      case 2: GradientBlock<2, VECTORS>(p); break;
      case 3: GradientBlock<3, VECTORS>(p); break;
      case 4: GradientBlock<4, VECTORS>(p); break;
      case 5: GradientBlock<5, VECTORS>(p); break;
      case 6: GradientBlock<6, VECTORS>(p); break;
      case 7:
        if constexpr (kMost > 6) GradientBlock<7, VECTORS>(p);
        break;
      default:
        if constexpr (kMost > 6) GradientBlock<8, VECTORS>(p);
    }
  }
}

// sums[k][c] += over pictures [begin, end) of the points of x, for one point; dy begins at `begin`.
PELLUCID_INLINE void MultiplyGradient(const TurnedPoints& x, int64_t point, int64_t begin, int64_t end, const float* dy,
                                      int64_t dy_row, int64_t kernels, float* sums, bool begins, Ahead& ahead) {
  for (int64_t block = 0; block * kMostVectors < x.vectors; block++) {
    const GradientProduct p{x.of(point, block, begin), dy, sums + block * kMostVectors * kLanes,
                            dy_row, x.vectors * kLanes, end - begin, begins, &ahead};
    switch (x.width(block)) {
      case 1: GradientKernels<1>(p, kernels); break;
#if PELLUCID_LANES == 16
      case 2: GradientKernels<2>(p, kernels); break;
      case 3: GradientKernels<3>(p, kernels); break;
      default: GradientKernels<4>(p, kernels);
#else
      default: GradientKernels<2>(p, kernels);
#endif
    }
  }
}

}  // namespace
}  // namespace pellucid::lanes::PELLUCID_ISA
