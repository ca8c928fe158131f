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

constexpr int kWideTiles = 3;                  // of a chunk
constexpr int kBlocks = kLanes == 16 ? 2 : 1;  // of kernels that are multiplied at once
constexpr int64_t kPaceUnit = 256;
constexpr int64_t kNearPoints = 200 << 10;  // bytes of the points that stay in L2 while all kernels use them

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
        chunks(tiles, kWideTiles),
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

struct WideProduct {
  const float* points;        // of a chunk
  const float* weights;       // of the first block
  const float* next_weights;  // that are needed after these
  float* products;
  int64_t inputs;        // channels to sum over
  int64_t weight_block;  // floats from one block of kernels to the next
  const float* ahead;    // what is fetched to L2 meanwhile,
  int64_t pace;          // so many lines / kPaceUnit with each channel: a burst would hold up the points
};

// Lines of what is needed next, for each block of products.
struct Fetching {
  const float* at;
  int64_t lines;
};

// BLOCKS x 4 kernels x TILES, summed over all channels: the kernels' weights stay in L1 for all chunks that are near,
// and the points come from L2, so no sum leaves its register before it is whole.
template <int BLOCKS, int TILES>
PELLUCID_INLINE void MultiplyNear(const WideProduct& p) {
  constexpr int kKernels = BLOCKS * kKernelBlock, kAheadChannels = 12;
  const float *points = p.points, *weights = p.weights, *next = p.next_weights, *ahead = p.ahead;
  int64_t fetched = 0;
  Vector sum[kKernels][TILES] = {};
  for (int64_t c = 0; c < p.inputs; c++) {
    Vector x[TILES];
    PELLUCID_UNROLL(8)
    for (int t = 0; t < TILES; t++) {
      x[t] = Load(points + t * kLanes);
      __builtin_prefetch(points + (kAheadChannels * TILES + t) * kLanes);
    }
    PELLUCID_UNROLL(4)
    for (int b = 0; b < BLOCKS; b++) __builtin_prefetch(next + b * p.weight_block);
    PELLUCID_UNROLL(16)
    for (int k = 0; k < kKernels; k++) {
      const Vector w = InRegister(weights[k / kKernelBlock * p.weight_block + k % kKernelBlock]);
      PELLUCID_UNROLL(8)
      for (int t = 0; t < TILES; t++) sum[k][t] += x[t] * w;
    }
    __builtin_prefetch(ahead + fetched / kPaceUnit * kLine, 0, 2);
    fetched += p.pace;
    points += TILES * kLanes;
    weights += kKernelBlock;
    next += kKernelBlock;
  }
  PELLUCID_UNROLL(16)
  for (int k = 0; k < kKernels; k++) {
    PELLUCID_UNROLL(8)
    for (int t = 0; t < TILES; t++) Stream(p.products + (k * TILES + t) * kLanes, sum[k][t]);
  }
}

template <int BLOCKS>
__attribute__((noinline)) void MultiplyTilesNear(const WideProduct& p, int64_t tiles) {
  switch (tiles) {
    case 1: return MultiplyNear<BLOCKS, 1>(p);
    case 2: return MultiplyNear<BLOCKS, 2>(p);
    default: return MultiplyNear<BLOCKS, 3>(p);
  }
}

// Chunks [begin, end) times kernels in groups [first, last), one point.
template <int M>
void MultiplyChunks(const WinogradArguments& a, const Wide<M>& wide, int64_t point, int64_t begin, int64_t end,
                    int64_t first, int64_t last, Fetching ahead) {
  const int64_t C = wide.n.C, kernels = wide.weights.kernels;
  for (int64_t group = first; group < last; group++) {
    const int64_t blocks = wide.weights.blocks(group);
    const float* weights = wide.weights.of(group, point);
    for (int64_t block = 0; block < blocks; block += kBlocks) {
      const float* here = weights + block * wide.weights.block_floats();
      const float* next = here + kBlocks * wide.weights.block_floats();
      if (block + kBlocks >= blocks) next = wide.weights.of(group + 1 < last ? group + 1 : first, point);
      for (int64_t i = begin; i < end; i++) {
        const int64_t at = wide.chunks.begin(i), size = wide.chunks.length(i);
        const int64_t k = group * kKernelGroup + block * kKernelBlock;
        const WideProduct product{a.points + point * wide.point_plane + at * C * kLanes,
                                  here,
                                  next,
                                  a.products + point * wide.product_plane + (at * kernels + k * size) * kLanes,
                                  C,
                                  wide.weights.block_floats(),
                                  ahead.at,
                                  (ahead.lines * kPaceUnit + C - 1) / C};
        ahead.at += ahead.lines * kLine;
        if (blocks - block >= kBlocks)
          MultiplyTilesNear<kBlocks>(product, size);
        else
          MultiplyTilesNear<1>(product, size);
      }
    }
  }
}

template <int M>
void WideProducts(const WinogradArguments& a, int64_t unit) {
  const Wide<M> wide(a);
  const int64_t block = a.block ? RoundUp(a.block, kKernelGroup) : RoundUp(wide.weights.kernels, kKernelGroup);
  const int64_t blocks = (wide.weights.kernels + block - 1) / block, point = unit / blocks;
  const int64_t first = unit % blocks * block / kKernelGroup;
  const int64_t last = Least(wide.weights.groups(), first + block / kKernelGroup);
  const Blocks near(wide.chunks.count, Most(1, kNearPoints / (kWideTiles * wide.n.C * kLanes * 4)));
  for (int64_t i = 0; i < near.count; i++) {
    // Meanwhile the next points are fetched; the next unit's are most likely this thread's or its neighbour's.
    const bool ends = i + 1 == near.count;
    const int64_t next_point = ends && point + 1 < wide.kPoints ? point + 1 : point, next = ends ? 0 : i + 1;
    const int64_t from = wide.chunks.begin(near.begin(next)), to = wide.chunks.begin(near.begin(next + 1));
    const int64_t steps = (last - first) * (kKernelGroup / kKernelBlock / kBlocks) * near.length(i);
    const int64_t lines = (to - from) * wide.n.C * kLanes / kLine;
    const Fetching ahead{a.points + next_point * wide.point_plane + from * wide.n.C * kLanes,
                         (lines + steps - 1) / steps};
    MultiplyChunks(a, wide, point, near.begin(i), near.begin(i + 1), first, last, ahead);
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
