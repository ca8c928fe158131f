// The weight's gradient by Winograd's method over all groups at once, for many channels: the points of x and of dL/dy
// go to memory, then a thread takes one point, whose sums stay in L2, and all pictures of all tiles.
//
// T = group_count * tiles of a picture, N = T L pictures of tiles, Cp = C rounded up to L:
//   points   [point][4 vectors of channels][N][4][L], planes (N Cp + L) floats apart
//   products [point] then, for chunks of `size` tiles from `begin` on, at (begin K + k size + tile) L,
//            planes (N K + L) floats apart
#include "../winograd_gradient.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int kAtOnce = 8;                     // lines that are fetched together
constexpr int64_t kNearTiles = 64 / kLanes;  // whose points stay in L1 while all kernels use them

template <int M>
struct WideGradient {
  static constexpr int kPoints = (M + 2) * (M + 2);
  int64_t tiles, pictures, channels, x_plane, y_plane;
  TurnedPoints x;
  Blocks chunks;
  explicit WideGradient(const WinogradArguments& a)
      : tiles(((a.P + M - 1) / M) * ((a.Q + M - 1) / M)),
        pictures(a.group_count * tiles * kLanes),
        channels(RoundUp(a.C, kLanes)),
        x_plane(pictures * channels + kLanes),
        y_plane(pictures * a.K + kLanes),
        x(TurnedPoints::Of(a.points, x_plane, a.C, pictures)),
        chunks(a.group_count * tiles, kNearTiles) {}
};

template <int M>
void WideTurnedInput(const WinogradArguments& a, int64_t member) {
  const WideGradient<M> wide(a);
  TurnInput<M, true>(a, a.first_group + member, 0, wide.tiles, member * wide.tiles * kLanes, 0, M / 2 + 1, wide.x);
  EndStreams();
}

template <int M>
void WideOutputGradient(const WinogradArguments& a, int64_t member) {
  const WideGradient<M> wide(a);
  const int64_t group = a.first_group + member, first = member * wide.tiles, end = first + wide.tiles;
  for (int64_t i = 0; i < wide.chunks.count; i++) {
    const int64_t begin = wide.chunks.begin(i), from = Most(first, begin), to = Least(end, wide.chunks.begin(i + 1));
    if (from < to)
      TransformOutputGradient<M, true>(a, group, from - first, to - first, 0, a.K, 0, M / 2 + 1,
                                       a.products + (begin * a.K + from - begin) * kLanes, wide.y_plane,
                                       wide.chunks.length(i) * kLanes);
  }
  if (a.bias != nullptr) SumBias(a, group, 0, a.K, a.bias + group * a.K, true);
  EndStreams();
}

template <int M>
void WideWeightProducts(const WinogradArguments& a, int64_t unit) {
  const WideGradient<M> wide(a);
  const int64_t block = a.block ? a.block : a.K, blocks = (a.K + block - 1) / block;
  const int64_t point = unit / blocks, k = unit % blocks * block;
  for (int64_t i = 0; i < wide.chunks.count; i++) {
    const int64_t begin = wide.chunks.begin(i), size = wide.chunks.length(i);
    Ahead ahead{};  // the next chunk's points
    if (i + 1 < wide.chunks.count) {
      const int64_t vectors = (wide.x.vectors + kMostVectors - 1) / kMostVectors, next = begin + size;
      const int64_t length = wide.chunks.length(i + 1), kernels = Least(block, a.K - k);
      ahead.first = {a.products + point * wide.y_plane + (next * a.K + k * length) * kLanes,
                     kAtOnce * kLanes, 0, {{0, 1, kAtOnce}}, 1, length * kernels / kAtOnce, 0};
      ahead.second = {wide.x.of(point, 0, next * kLanes),
                      2 * kLanes,
                      kMostVectors * wide.pictures * kLanes,
                      {{0, int(vectors), 2}},
                      1,
                      length * kLanes * wide.x.width(0) / 2,
                      0};
      ahead.Pace(vectors * kernels / kMostKernels);
    }
    MultiplyGradient(wide.x, point, begin * kLanes, (begin + size) * kLanes,
                     a.products + point * wide.y_plane + (begin * a.K + k * size) * kLanes, size * kLanes,
                     Least(block, a.K - k), a.parts + (point * a.K + k) * wide.channels, i == 0 && !a.accumulate,
                     ahead);
  }
}

}  // namespace

// Units: group_count (by groups where that is all of them). points = the transformed x, turned.
void WinogradWideTurnedInput(const void* arguments, const PellucidUnits* range) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  for (int64_t member = range->begin; member < range->end; member++)
    a.tile == 4 ? WideTurnedInput<4>(a, member) : WideTurnedInput<2>(a, member);
}

// Units: group_count (by groups where that is all of them). products = the transformed dL/dy.
// bias: null, or the groups' sums for dL/dbias, [G][K].
void WinogradWideOutputGradient(const void* arguments, const PellucidUnits* range) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  for (int64_t member = range->begin; member < range->end; member++)
    a.tile == 4 ? WideOutputGradient<4>(a, member) : WideOutputGradient<2>(a, member);
}

// Units: A A * ceil(K / block), block = 0 for all. parts[0] = or += the sums; winograd_weight_finish with part_count =
// 1 makes dL/dw of them.
void WinogradWideWeightProducts(const void* arguments, const PellucidUnits* range) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  for (int64_t unit = range->begin; unit < range->end; unit++)
    a.tile == 4 ? WideWeightProducts<4>(a, unit) : WideWeightProducts<2>(a, unit);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
