// Winograd's convolution group by group: F(4x4, 3x3) and F(2x2, 3x3), forward and the input's gradient.
//
// The tiles of a group come in chunks so small that their points [A A][C][tiles] stay in L2; kernels k in groups of 16,
// whose products [A A][16][tiles] go back to numbers before the next 16 begin. Weights are streamed once for each
// chunk.
#include "../winograd_correlation.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int64_t kPointBytes = 700 << 10;  // of a chunk
constexpr int64_t kFewestTiles = 2;         // of a chunk, however many channels
constexpr int64_t kAhead = 1;               // rectangles of numbers that are fetched with each block of products
// Sum over all C channels, as many at a time as stay in L1.
PELLUCID_INLINE void MultiplyChannels(const float* points, int64_t channels, int64_t tiles, const float* weights,
                                      int64_t weight_block, int64_t blocks, float* products, Ahead& ahead) {
  const Blocks parts(channels, Most(1, kNearBytes / (tiles * kLanes * int64_t(sizeof(float)))));
  for (int64_t i = 0; i < parts.count; i++) {
    const int64_t c = parts.begin(i);
    Multiply({points + c * tiles * kLanes, weights + c * kKernelBlock, i == 0 ? nullptr : products, products,
              parts.length(i), weight_block, blocks, &ahead},
             tiles);
  }
}

template <int M>
void Correlate(const Correlation& n, const float* packed, int64_t group) {
  constexpr int kPoints = (M + 2) * (M + 2);
  const Weights<M> weights(packed, n);
  const Tiling<M> tiling(n);
  const int64_t fitting = kPointBytes / (kPoints * n.C * kLanes * int64_t(sizeof(float)));
  const Blocks chunks(tiling.count, Most(kFewestTiles, Least(kMostTiles, fitting)));
  const int64_t most = chunks.length(0);
  const int64_t plane = (n.C * most + 1) * kLanes, plane_out = (kKernelGroup * most + 1) * kLanes;
  float* points = pellucid_lanes_scratch(0, kPoints * plane);
  float* products = pellucid_lanes_scratch(1, kPoints * plane_out);
  for (int64_t i = 0; i < chunks.count; i++) {
    const Chunk chunk{chunks.begin(i), chunks.begin(i + 1), 0, chunks.length(i)};
    TransformInput<M, false>(n, group, chunk, points, plane);
    Ahead ahead{};
    ahead.each = kAhead;
    if (i + 1 < chunks.count)
      ahead.second = TilesAhead(n.in + group * n.in_group, n.C, n.H, n.W, M, M + 2, tiling.across, chunk.end,
                                chunks.begin(i + 2), n.pad_h, n.pad_w);
    for (int64_t k = 0; k < weights.groups(); k++) {
      const int64_t first = k * kKernelGroup, kernels = Least(kKernelGroup, n.K - first);
      if (!IsStreamed(n))
        ahead.first = TilesAhead(n.out + group * n.out_group + first * n.P * n.Q * kLanes, kernels, n.P, n.Q, M, M,
                                 tiling.across, chunk.begin, chunk.end, 0, 0);
      for (int point = 0; point < kPoints; point++)
        MultiplyChannels(points + point * plane, n.C, chunk.tiles, weights.of(k, point), weights.block_floats(),
                         weights.blocks(k), products + point * plane_out, ahead);
      TransformOutput<M>(n, group, chunk, products, plane_out, first, kernels);
    }
  }
  EndStreams();
}

void CorrelateGroups(const void* arguments, const PellucidUnits* range, bool is_gradient) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  const Correlation n = CorrelationOf(a, is_gradient);
  for (int64_t g = range->begin; g < range->end; g++) {
    if (a.tile == 4)
      Correlate<4>(n, a.packed, g);
    else
      Correlate<2>(n, a.packed, g);
  }
}

typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
PELLUCID_INLINE Four LoadFour(const float* p) { return *reinterpret_cast<const Four*>(p); }
PELLUCID_INLINE void StoreFour(float* p, Four v) { *reinterpret_cast<Four*>(p) = v; }
PELLUCID_INLINE void TransposeFour(Four* r) {
  const Four a = PELLUCID_SHUFFLE(r[0], r[1], 0, 4, 1, 5), b = PELLUCID_SHUFFLE(r[2], r[3], 0, 4, 1, 5);
  const Four c = PELLUCID_SHUFFLE(r[0], r[1], 2, 6, 3, 7), d = PELLUCID_SHUFFLE(r[2], r[3], 2, 6, 3, 7);
  r[0] = PELLUCID_SHUFFLE(a, b, 0, 1, 4, 5);
  r[1] = PELLUCID_SHUFFLE(a, b, 2, 3, 6, 7);
  r[2] = PELLUCID_SHUFFLE(c, d, 0, 1, 4, 5);
  r[3] = PELLUCID_SHUFFLE(c, d, 2, 3, 6, 7);
}

constexpr int kStrip = 16;                  // channels that are turned at a time
constexpr int64_t kCachedBytes = 4 << 20;  // of packed weights; more go past the caches
using Numbers = float[9][kStrip * kKernelBlock];  // [of a kernel][channel][kernel]

// The weights as they stand in memory: 3 x 3 numbers for each of `columns` in each of `rows`.
struct Raw {
  const float* w;
  int64_t rows, columns;
  // Four columns of a row; those that are not there are 0.
  const float* of(int64_t row, int64_t column, float* edge) const {
    const float* from = w + (row * columns + column) * 9;
    if (row < rows && column + 4 <= columns) return from;
    for (int64_t i = 0; i < 36; i++) edge[i] = row < rows && column + i / 9 < columns ? from[i] : 0.0f;
    return edge;
  }
  void Fetch(int64_t row, int64_t column) const {
    if (row >= rows || column >= columns) return;
    const float* from = w + (row * columns + column) * 9;
    for (int64_t i = 0; i < 48; i += kLine) __builtin_prefetch(from + i);
  }
};

// Four kernels from k on, four channels from c on, as numbers from place `at` on; of a transposed correlation turned
// round: there a row of w is a channel.
template <bool TRANSPOSED>
PELLUCID_INLINE void Turn(const Raw& raw, int64_t k, int64_t c, int64_t at, Numbers& numbers) {
  float edge[4][36];
  const float* rows[4];
  for (int64_t i = 0; i < 4; i++)
    rows[i] = raw.of((TRANSPOSED ? c : k) + i, TRANSPOSED ? k : c, edge[i]);
  Four turned[36];  // [column][number][row]
  PELLUCID_UNROLL(9)
  for (int i = 0; i < 36; i += 4) {
    Four v[4] = {LoadFour(rows[0] + i), LoadFour(rows[1] + i), LoadFour(rows[2] + i), LoadFour(rows[3] + i)};
    TransposeFour(v);
    PELLUCID_UNROLL(4)
    for (int j = 0; j < 4; j++) turned[i + j] = v[j];
  }
  PELLUCID_UNROLL(9)
  for (int i = 0; i < 9; i++) {
    Four v[4] = {turned[i], turned[9 + i], turned[18 + i], turned[27 + i]};
    if constexpr (TRANSPOSED) TransposeFour(v);
    PELLUCID_UNROLL(4)
    for (int j = 0; j < 4; j++) StoreFour(numbers[TRANSPOSED ? 8 - i : i] + (at + j) * kKernelBlock, v[j]);
  }
}

// G w G' of kLanes / 4 channels of 4 kernels.
template <int M, bool STREAM>
PELLUCID_INLINE void TransformWeights(const Numbers& numbers, int64_t at, float* out, int64_t point) {
  constexpr int A = M + 2;
  Vector t[3][A];
  for (int j = 0; j < 3; j++) {
    const Vector column[3] = {Load(numbers[j] + at), Load(numbers[3 + j] + at), Load(numbers[6 + j] + at)};
    Winograd<M>::Weight(column, t[j]);
  }
  PELLUCID_UNROLL(8)
  for (int i = 0; i < A; i++) {
    const Vector row[3] = {t[0][i], t[1][i], t[2][i]};
    Vector u[A];
    Winograd<M>::Weight(row, u);
    PELLUCID_UNROLL(8)
    for (int j = 0; j < A; j++) {
      if constexpr (STREAM)
        Stream(out + (i * A + j) * point, u[j]);
      else
        Store(out + (i * A + j) * point, u[j]);
    }
  }
}

// One group of kernels: strips of channels, which all its kernels go through together as they lie together in memory.
template <int M, bool TRANSPOSED, bool STREAM>
void PackGroup(const float* w, float* packed, int64_t C, int64_t K, int64_t group) {
  constexpr int A = M + 2;
  const Raw raw{w, TRANSPOSED ? C : K, TRANSPOSED ? K : C};
  const int64_t Cp = RoundUp(C, 4), first = group * kKernelGroup;
  const int64_t kernels = Least(kKernelGroup, RoundUp(K, 4) - first), point = kernels * Cp;
  float* out = packed + first * A * A * Cp;
  alignas(64) Numbers numbers;
  for (int64_t strip = 0; strip < Cp; strip += kStrip)
    for (int64_t k = 0; k < kernels; k += kKernelBlock) {
      const int64_t channels = Least(kStrip, Cp - strip), ahead = strip + kStrip;
      if constexpr (TRANSPOSED)
        for (int64_t c = 0; c < kStrip; c++) raw.Fetch(ahead + c, first + k);
      for (int64_t c = 0; c < channels; c += 4) Turn<TRANSPOSED>(raw, first + k, strip + c, c, numbers);
      for (int64_t at = 0; at < channels * kKernelBlock; at += kLanes)
        TransformWeights<M, STREAM>(numbers, at, out + (k * Cp + strip * kKernelBlock) + at, point);
    }
}

template <int M, bool TRANSPOSED>
void Pack(const float* w, float* packed, int64_t C, int64_t K, int64_t group) {
  if ((M + 2) * (M + 2) * C * K * int64_t(sizeof(float)) > kCachedBytes)
    PackGroup<M, TRANSPOSED, true>(w, packed, C, K, group);
  else
    PackGroup<M, TRANSPOSED, false>(w, packed, C, K, group);
}

template <bool TRANSPOSED>
void PackGroups(const void* arguments, const PellucidUnits* range) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  const int64_t C = TRANSPOSED ? a.K : a.C, K = TRANSPOSED ? a.C : a.K;
  constexpr int64_t kGroups = kPackedKernels / kKernelGroup;
  const int64_t end = Least((K + kKernelGroup - 1) / kKernelGroup, range->end * kGroups);
  for (int64_t group = range->begin * kGroups; group < end; group++) {
    if (a.tile == 4)
      Pack<4, TRANSPOSED>(a.w, a.packed, C, K, group);
    else
      Pack<2, TRANSPOSED>(a.w, a.packed, C, K, group);
  }
  EndStreams();
}

}  // namespace

// Units: ceil(K / 32). packed[group of 16 kernels][point][block of 4][C rounded up to 4][4] = G w G'.
void WinogradPack(const void* arguments, const PellucidUnits* range) { PackGroups<false>(arguments, range); }

// Units: ceil(C / 32). The same of the weights turned round, C and K exchanged.
void WinogradPackTransposed(const void* arguments, const PellucidUnits* range) { PackGroups<true>(arguments, range); }

// By groups: y from x and the packed weights, with bias and statistics where they are given.
void WinogradForward(const void* arguments, const PellucidUnits* range) { CorrelateGroups(arguments, range, false); }

// By groups: dL/dx = or += from dL/dy and the weights packed transposed.
void WinogradInputGradient(const void* arguments, const PellucidUnits* range) {
  CorrelateGroups(arguments, range, true);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
