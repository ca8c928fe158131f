// Winograd's convolution over all groups at once, in three stages with memory between: for weights that are larger than
// L2 and would be streamed for every group. Forward and the input's gradient (is_gradient = 1).
//
// Chunks of tiles go across groups: T = group_count * tiles of a picture, and chunk i of `size` tiles from `begin` on
// has
//   points   [point] then at (begin C + c size + tile) L, planes (T C + 1) L floats apart
//   products [point] then at (begin Kp + k size + tile) L, planes (T Kp + 1) L floats apart, Kp = K rounded up to 4
// Both are written past the caches and read once. (For the input's gradient C and K change places.)
#include "../winograd_correlation.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

template <int M>
struct Wide {
  static constexpr int kPoints = (M + 2) * (M + 2);
  Correlation n;
  Weights<M> weights;
  Tiling<M> tiling;
  int64_t tiles;
  Blocks chunks;
  int64_t point_plane, product_plane;
  explicit Wide(const WinogradArguments& a)
      : n(CorrelationOf(a, a.is_gradient != 0)),
        weights(a.packed, n),
        tiling(n),
        tiles(a.group_count * tiling.count),
        chunks(tiles, kMostTiles),
        point_plane((tiles * n.C + 1) * kLanes),
        product_plane((tiles * weights.kernels + 1) * kLanes) {}
};

// f(chunk, where it begins) for each chunk that has tiles of a group: number `member` of those that are done.
template <int M, typename F>
PELLUCID_INLINE void EachChunk(const Wide<M>& wide, int64_t member, const F& f) {
  const int64_t first = member * wide.tiling.count, end = first + wide.tiling.count;
  for (int64_t i = 0; i < wide.chunks.count; i++) {
    const int64_t from = Most(first, wide.chunks.begin(i)), to = Least(end, wide.chunks.begin(i + 1));
    if (from >= to) continue;
    f(Chunk{from - first, to - first, from - wide.chunks.begin(i), wide.chunks.length(i)}, wide.chunks.begin(i));
  }
}

template <int M>
void WideInput(const WinogradArguments& a, int64_t member) {
  const Wide<M> wide(a);
  EachChunk(wide, member, [&](const Chunk& chunk, int64_t begin) {
    TransformInput<M, true>(wide.n, a.first_group + member, chunk, a.points + begin * wide.n.C * kLanes,
                            wide.point_plane);
  });
  EndStreams();
}

template <int M>
void WideProducts(const WinogradArguments& a, int64_t unit) {
  const Wide<M> wide(a);
  const int64_t C = wide.n.C, kernels = wide.weights.kernels;
  const int64_t block = a.block ? RoundUp(a.block, kKernelGroup) : kernels;
  const int64_t blocks = (kernels + block - 1) / block, point = unit / blocks;
  const int64_t first = unit % blocks * block / kKernelGroup;
  const int64_t last = Least(wide.weights.groups(), first + RoundUp(block, kKernelGroup) / kKernelGroup);
  float* sums = pellucid_lanes_scratch(0, RoundUp(block, kKernelGroup) * kMostTiles * kLanes);
  for (int64_t i = 0; i < wide.chunks.count; i++) {
    const int64_t begin = wide.chunks.begin(i), size = wide.chunks.length(i);
    const float* points = a.points + point * wide.point_plane + begin * C * kLanes;
    Ahead ahead{};  // the next chunk's points, as many lines with each block
    if (i + 1 < wide.chunks.count)
      ahead.first = {points + C * size * kLanes, size * kLanes, 0, {{0, 1, int(size)}}, 1, C, 0};
    ahead.each = 2;
    float* products = a.products + point * wide.product_plane + begin * kernels * kLanes;
    const Blocks parts(C, Most(1, kNearBytes / (size * kLanes * int64_t(sizeof(float)))));
    for (int64_t part = 0; part < parts.count; part++) {
      const int64_t c = parts.begin(part);
      const bool ends = part + 1 == parts.count;
      for (int64_t k = first; k < last; k++) {
        float* so_far = sums + (k - first) * kKernelGroup * size * kLanes;
        const Product product{points + c * size * kLanes,
                              wide.weights.of(k, point) + c * kKernelBlock,
                              part ? so_far : nullptr,
                              ends ? products + k * kKernelGroup * size * kLanes : so_far,
                              parts.length(part),
                              wide.weights.block_floats(),
                              wide.weights.blocks(k),
                              &ahead};
        if (ends)
          Multiply<true>(product, size);
        else
          Multiply<false>(product, size);
      }
    }
  }
  EndStreams();
}

template <int M>
void WideOutput(const WinogradArguments& a, int64_t member) {
  const Wide<M> wide(a);
  EachChunk(wide, member, [&](const Chunk& chunk, int64_t begin) {
    TransformOutput<M>(wide.n, a.first_group + member, chunk, a.products + begin * wide.weights.kernels * kLanes,
                       wide.product_plane, 0, wide.n.K);
  });
  EndStreams();
}

}  // namespace

// Units: group_count (by groups where that is all of them). points = the transformed x, or dL/dy.
void WinogradWideInput(const void* arguments, const PellucidUnits* range) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  for (int64_t member = range->begin; member < range->end; member++)
    a.tile == 4 ? WideInput<4>(a, member) : WideInput<2>(a, member);
}

// Units: A A * ceil(K / block), K those of the correlation (C of the convolution if is_gradient); block: a multiple of
// 16, or 0 for all. products = packed weights times points.
void WinogradWideProducts(const void* arguments, const PellucidUnits* range) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  for (int64_t unit = range->begin; unit < range->end; unit++)
    a.tile == 4 ? WideProducts<4>(a, unit) : WideProducts<2>(a, unit);
}

// Units: group_count (by groups where that is all of them). y with bias and statistics, or dL/dx.
void WinogradWideOutput(const void* arguments, const PellucidUnits* range) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  for (int64_t member = range->begin; member < range->end; member++)
    a.tile == 4 ? WideOutput<4>(a, member) : WideOutput<2>(a, member);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
