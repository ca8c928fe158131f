// The weight's gradient by Winograd's method over all groups at once, for many channels: the points of x and of dL/dy
// go to memory, then a thread takes one point, whose sums stay in L2, and all pictures of all tiles.
//
// T = group_count * tiles of a picture, N = T L pictures of tiles, Cp = C rounded up to L:
//   points   [point][4 vectors of channels][N][4][L], planes (N Cp + L) floats apart
//   products [point][K][N], planes (N K + L) floats apart
#include "../winograd_gradient.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int64_t kNearPictures = 64;  // whose points stay in L1 while all kernels use them

template <int M>
struct WideGradient {
  static constexpr int kPoints = (M + 2) * (M + 2);
  int64_t tiles, pictures, channels, x_plane, y_plane;
  TurnedPoints x;
  explicit WideGradient(const WinogradArguments& a)
      : tiles(((a.P + M - 1) / M) * ((a.Q + M - 1) / M)),
        pictures(a.group_count * tiles * kLanes),
        channels(RoundUp(a.C, kLanes)),
        x_plane(pictures * channels + kLanes),
        y_plane(pictures * a.K + kLanes),
        x(TurnedPoints::Of(a.points, x_plane, a.C, pictures)) {}
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
  TransformOutputGradient<M, true>(a, a.first_group + member, 0, wide.tiles, 0, a.K, 0, M / 2 + 1,
                                   a.products + member * wide.tiles * kLanes, wide.y_plane, wide.pictures);
  const int64_t group = a.first_group + member;
  if (a.bias != nullptr) SumBias(a, group, 0, a.K, a.bias + group * a.K, true);
  EndStreams();
}

template <int M>
void WideWeightProducts(const WinogradArguments& a, int64_t unit) {
  const WideGradient<M> wide(a);
  const int64_t block = a.block ? a.block : a.K, blocks = (a.K + block - 1) / block;
  const int64_t point = unit / blocks, k = unit % blocks * block;
  Ahead ahead{};
  const Blocks near(wide.pictures, kNearPictures);
  for (int64_t i = 0; i < near.count; i++)
    MultiplyGradient(wide.x, point, near.begin(i), near.begin(i + 1),
                     a.products + point * wide.y_plane + k * wide.pictures + near.begin(i), wide.pictures,
                     Least(block, a.K - k), a.parts + (point * a.K + k) * wide.channels, i == 0 && !a.accumulate,
                     ahead);
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
