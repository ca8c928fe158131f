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
    Multiply<false>({points + c * tiles * kLanes, weights + c * kKernelBlock, i == 0 ? nullptr : products, products,
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

// One group of kernels. A vector holds 4 kernels of kLanes / 4 channels, as they stand in memory.
template <int M>
void Pack(const float* w, float* packed, int64_t C, int64_t K, int64_t group, bool transposed) {
  constexpr int A = M + 2, kChannels = kLanes / 4;
  const int64_t Cp = RoundUp(C, 4), kernels = Least(kKernelGroup, RoundUp(K, 4) - group * kKernelGroup);
  float* out = packed + group * kKernelGroup * A * A * Cp;
  for (int64_t k = 0; k < kernels; k += kKernelBlock)
    for (int64_t c = 0; c < Cp; c += kChannels) {
      alignas(64) float numbers[9][kLanes] = {};
      for (int l = 0; l < kLanes; l++) {
        const int64_t kernel = group * kKernelGroup + k + l % 4, channel = c + l / 4;
        if (kernel >= K || channel >= C) continue;
        const float* from = w + (transposed ? channel * K + kernel : kernel * C + channel) * 9;
        for (int i = 0; i < 9; i++) numbers[i][l] = from[transposed ? 8 - i : i];
      }
      Vector t[3][A];
      for (int j = 0; j < 3; j++) {
        const Vector column[3] = {Load(numbers[j]), Load(numbers[3 + j]), Load(numbers[6 + j])};
        Winograd<M>::Weight(column, t[j]);
      }
      for (int i = 0; i < A; i++) {
        const Vector row[3] = {t[0][i], t[1][i], t[2][i]};
        Vector u[A];
        Winograd<M>::Weight(row, u);
        for (int j = 0; j < A; j++) Store(out + ((i * A + j) * kernels + k) * Cp + c * kKernelBlock, u[j]);
      }
    }
}

void PackGroups(const void* arguments, const PellucidUnits* range, bool transposed) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  const int64_t C = transposed ? a.K : a.C, K = transposed ? a.C : a.K;
  constexpr int64_t kGroups = kPackedKernels / kKernelGroup;
  const int64_t end = Least((K + kKernelGroup - 1) / kKernelGroup, range->end * kGroups);
  for (int64_t group = range->begin * kGroups; group < end; group++) {
    if (a.tile == 4)
      Pack<4>(a.w, a.packed, C, K, group, transposed);
    else
      Pack<2>(a.w, a.packed, C, K, group, transposed);
  }
}

}  // namespace

// Units: ceil(K / 32). packed[group of 16 kernels][point][block of 4][C rounded up to 4][4] = G w G'.
void WinogradPack(const void* arguments, const PellucidUnits* range) { PackGroups(arguments, range, false); }

// Units: ceil(C / 32). The same of the weights turned round, C and K exchanged.
void WinogradPackTransposed(const void* arguments, const PellucidUnits* range) { PackGroups(arguments, range, true); }

// By groups: y from x and the packed weights, with bias and statistics where they are given.
void WinogradForward(const void* arguments, const PellucidUnits* range) { CorrelateGroups(arguments, range, false); }

// By groups: dL/dx = or += from dL/dy and the weights packed transposed.
void WinogradInputGradient(const void* arguments, const PellucidUnits* range) {
  CorrelateGroups(arguments, range, true);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
