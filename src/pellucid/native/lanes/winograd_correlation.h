// A 3x3 correlation by Winograd's method in three stages over chunks of tiles. What the forward pass and the input's
// gradient share (the latter is a correlation of dL/dy with the weights turned round and transposed), and what the
// kernels that go group by group share with those that go over all groups at once.
#pragma once

#include "kernels.h"
#include "winograd_products.h"

namespace pellucid::lanes::PELLUCID_ISA {
namespace {

struct Correlation {
  const float* in;  // [G][C][H][W][L]
  float* out;       // [G][K][P][Q][L]
  const float* bias;
  float* statistics;
  int64_t in_group, out_group;
  int C, H, W, K, P, Q, pad_h, pad_w;
  bool accumulate;
};

PELLUCID_INLINE Correlation CorrelationOf(const WinogradArguments& a, bool is_gradient) {
  if (is_gradient)
    return {a.y,   a.x, nullptr, nullptr, a.y_group,   a.x_group,   a.K,
            a.P,   a.Q, a.C,     a.H,     a.W,         2 - a.pad_h, 2 - a.pad_w, a.accumulate != 0};
  return {a.x, a.y, a.bias, a.statistics, a.x_group, a.y_group, a.C, a.H, a.W, a.K, a.P, a.Q, a.pad_h, a.pad_w, false};
}

// Tiles of one picture, and floats of the weights for one group of kernels.
template <int M>
struct Tiling {
  int64_t down, across, count;
  explicit Tiling(const Correlation& n) : down((n.P + M - 1) / M), across((n.Q + M - 1) / M), count(down * across) {}
};

template <int M>
struct Weights {
  static constexpr int kPoints = (M + 2) * (M + 2);
  const float* packed;
  int64_t channels, kernels;  // rounded up
  Weights(const float* p, const Correlation& n)
      : packed(p), channels(RoundUp(n.C, 4)), kernels(RoundUp(n.K, kKernelBlock)) {}
  int64_t groups() const { return (kernels + kKernelGroup - 1) / kKernelGroup; }
  int64_t blocks(int64_t group) const { return Least(kKernelGroup, kernels - group * kKernelGroup) / kKernelBlock; }
  int64_t block_floats() const { return channels * kKernelBlock; }
  const float* of(int64_t group, int64_t point) const {
    return packed + (group * kKernelGroup * kPoints + point * blocks(group) * kKernelBlock) * channels;
  }
};

// Tiles [begin, end) of a group stand in a chunk of `tiles`, from place `place` on.
struct Chunk {
  int64_t begin, end, place, tiles;
};

// points[point][c][place + tile of the chunk], `plane` floats from point to point.
template <int M, bool STREAM>
PELLUCID_INLINE void TransformInput(const Correlation& n, int64_t group, const Chunk& chunk, float* points,
                                    int64_t plane) {
  constexpr int A = M + 2;
  const Tiling<M> tiling(n);
  alignas(64) float edge[A * A * kLanes];
  for (int64_t c = 0; c < n.C; c++) {
    const Plane pictures{n.in + group * n.in_group + c * n.H * n.W * kLanes, n.H, n.W};
    float* out = points + (c * chunk.tiles + chunk.place) * kLanes;
    for (int64_t t = chunk.begin; t < chunk.end; t++, out += kLanes) {
      int64_t row;
      const float* x = Window<A>(pictures, int(t / tiling.across * M - n.pad_h), int(t % tiling.across * M - n.pad_w),
                                 edge, row);
      const auto store = [=](int point, Vector v) {
        if constexpr (STREAM)
          Stream(out + point * plane, v);
        else
          Store(out + point * plane, v);
      };
      InputPair<M, 0>(x, row, store);
      InputPair<M, 1>(x, row, store);
      if constexpr (M == 4) InputPair<M, 2>(x, row, store);
    }
  }
}

constexpr int64_t kNearBytes = 24 << 10;  // of a chunk's points that stay in L1 while all kernels use them

// The sums of a channel for batch normalisation.
struct Sums {
  float* memory;
  Vector shift, sum, squares;
  void Begin(float* m, bool first, Vector value) {
    memory = m;
    shift = first ? value : Load(m);
    sum = first ? Vector{} : Load(m + kLanes);
    squares = first ? Vector{} : Load(m + 2 * kLanes);
  }
  void Add(Vector value) {
    const Vector v = value - shift;
    sum += v;
    squares += v * v;
  }
  void End() {
    Store(memory, shift);
    Store(memory + kLanes, sum);
    Store(memory + 2 * kLanes, squares);
  }
};

// Whether a group of the output has left L2 before it is read: then it goes past the caches, which spares reading its
// lines first and leaves L2 to points and weights.
constexpr int64_t kStreamedBytes = 3 << 19;
PELLUCID_INLINE bool IsStreamed(const Correlation& n) {
  return !n.accumulate && int64_t(n.K) * n.P * n.Q * kLanes * int64_t(sizeof(float)) >= kStreamedBytes;
}

// How a tile is written.
enum class Output { kStored, kStreamed, kAdded };

// Write a tile's numbers that are inside the picture.
template <int M, Output OUTPUT, bool SUMS>
PELLUCID_INLINE void StoreTile(const Vector (*y)[M], Vector bias, float* to, int64_t row, int64_t down, int64_t across,
                               Sums& sums) {
  PELLUCID_UNROLL(4)
  for (int i = 0; i < M; i++) {
    PELLUCID_UNROLL(4)
    for (int j = 0; j < M; j++) {
      if (i >= down || j >= across) continue;
      Vector v = y[i][j] + bias;
      if constexpr (OUTPUT == Output::kAdded) v += Load(to + i * row + j * kLanes);
      if constexpr (OUTPUT == Output::kStreamed)
        Stream(to + i * row + j * kLanes, v);
      else
        Store(to + i * row + j * kLanes, v);
      if constexpr (SUMS) sums.Add(v);
    }
  }
}

template <int M, Output OUTPUT, bool SUMS>
PELLUCID_INLINE void TransformOutputOf(const Correlation& n, int64_t group, const Chunk& chunk, const float* products,
                                       int64_t plane, int64_t first, int64_t kernels) {
  const Tiling<M> tiling(n);
  const int64_t row = int64_t(n.Q) * kLanes;
  for (int64_t k = first; k < first + kernels; k++) {
    const float* in = products + ((k - first) * chunk.tiles + chunk.place) * kLanes;
    float* out = n.out + group * n.out_group + k * n.P * row;
    const Vector bias = Splat(n.bias == nullptr ? 0.0f : n.bias[k]);
    Sums sums{};
    for (int64_t t = chunk.begin; t < chunk.end; t++, in += kLanes) {
      const int64_t p = t / tiling.across * M, q = t % tiling.across * M;
      const int64_t down = n.P - p, across = n.Q - q;
      Vector y[M][M];
      OutputTile<M>(in, plane, y);
      if (SUMS && t == chunk.begin) sums.Begin(n.statistics + (group * n.K + k) * 3 * kLanes, t == 0, y[0][0] + bias);
      if (down >= M && across >= M)
        StoreTile<M, OUTPUT, SUMS>(y, bias, out + p * row + q * kLanes, row, M, M, sums);
      else
        StoreTile<M, OUTPUT, SUMS>(y, bias, out + p * row + q * kLanes, row, down, across, sums);
    }
    if (SUMS) sums.End();
  }
}

// Kernels [first, first + kernels) of a chunk's tiles, from products[point][kernel - first][place + tile of the chunk].
template <int M>
PELLUCID_INLINE void TransformOutput(const Correlation& n, int64_t group, const Chunk& chunk, const float* products,
                                     int64_t plane, int64_t first, int64_t kernels) {
  const bool streamed = IsStreamed(n);
  if (n.statistics != nullptr && streamed)
    TransformOutputOf<M, Output::kStreamed, true>(n, group, chunk, products, plane, first, kernels);
  else if (n.statistics != nullptr)
    TransformOutputOf<M, Output::kStored, true>(n, group, chunk, products, plane, first, kernels);
  else if (n.accumulate)
    TransformOutputOf<M, Output::kAdded, false>(n, group, chunk, products, plane, first, kernels);
  else if (streamed)
    TransformOutputOf<M, Output::kStreamed, false>(n, group, chunk, products, plane, first, kernels);
  else
    TransformOutputOf<M, Output::kStored, false>(n, group, chunk, products, plane, first, kernels);
}

}  // namespace
}  // namespace pellucid::lanes::PELLUCID_ISA
