// The weight's gradient of a convolution, directly: any kernel size, stride, dilation, padding and groups of channels.
//
//   dw[k, c, r, s] = sum over n, p, q of dy[n, k, p, q] x[n, c, p stride_h + r dilation_h - pad_h, ...]
//
// Two ways: many channels go into the lanes (weight_turned.h), of few the pictures stay there (weight_sums.h). Both go
// tile by tile: some rows of dy, or some groups' whole maps. Tiles do not depend on how the work is cut, so that bits
// do not either. In dead lanes dy is 0 and x finite: they add nothing.
#include "../weight_sums.h"
#include "../weight_turned.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int64_t kCacheFloats = 3 << 16;  // of x, or of dy, that stay in L2: 768 KB
constexpr int64_t kFarFloats = 3 << 17;    // of x and dy that do not stay there together

PELLUCID_INLINE bool HasWindow(int64_t S) { return S == 2 || S == 3 || S == 5 || S == 7; }

Shape ShapeOf(const ConvolutionArguments& a, int64_t groups) {
  Shape s{};
  s.x = a.x, s.y = a.y, s.x_group = a.x_group, s.y_group = a.y_group;
  s.H = a.H, s.W = a.W, s.P = a.P, s.Q = a.Q, s.R = a.R, s.S = a.S;
  s.stride_h = a.stride_h, s.stride_w = a.stride_w, s.pad_h = a.pad_h, s.pad_w = a.pad_w;
  s.dilation_h = a.dilation_h, s.dilation_w = a.dilation_w, s.conv_groups = a.conv_groups;
  s.C = a.C / a.conv_groups, s.K = a.K / a.conv_groups;
  s.x_channel = s.H * s.W * kLanes, s.y_channel = s.P * s.Q * kLanes;
  if (s.R == 1 && s.S == 1 && s.H == s.P && s.W == s.Q && s.stride_h == 1 && s.stride_w == 1 && !s.pad_h && !s.pad_w)
    s.H = s.P = s.H * s.W, s.W = s.Q = 1;  // no window: rows have no meaning, and a tile may end anywhere
  s.turned = TurningPays(s);
  s.is_far = groups * (a.C * s.x_channel + a.K * s.y_channel) > kFarFloats;
  s.x_row = s.W * kLanes, s.y_row = s.Q * kLanes, s.x_step = s.stride_w * kLanes;
  // Every pixel's window is cut on one side at most.
  const int64_t left = DivideUp(s.pad_w, s.stride_w), right = DivideUp(s.W - s.S + 1 + s.pad_w, s.stride_w);
  s.windows = HasWindow(s.S) && s.dilation_w == 1 && right >= Least(left, s.Q);
  return s;
}

// dL/dbias of kernels [first, last) of the whole convolution: sums of dy.
void AddBias(const Shape& s, const Tile& tile, Range kernels, float* bias) {
  const int64_t n = (tile.last_row - tile.first_row) * s.Q;
  for (int64_t k = kernels.first; k < kernels.last; k += kLanes) {
    const int64_t count = Least(kLanes, kernels.last - k);
    Vector sums[kLanes] = {};
    for (int64_t i = 0; i < count; i++)
      for (int64_t g = tile.first_group; g < tile.last_group; g++) {
        const float* y = s.y + g * s.y_group + (k + i) * s.y_channel + tile.first_row * s.y_row;
        Vector even{}, odd{};
        for (int64_t j = 0; j + 1 < n; j += 2) even += Load(y + j * kLanes), odd += Load(y + (j + 1) * kLanes);
        if (n % 2) even += Load(y + (n - 1) * kLanes);
        sums[i] += even + odd;
      }
    const Vector total = LaneSums(sums);
    for (int64_t i = 0; i < count; i++) bias[k + i] += total[i];
  }
}

// So many kernels and channels at a time that a tile's dy and x stay in L2. (Turning x cuts it into panels itself.)
Range PieceSizes(const Shape& s, const Tile& tile) {
  if (s.turned) return {s.K, s.C};
  const int64_t x_rows = Least(s.H, tile.rows() * s.stride_h + (s.R - 1) * s.dilation_h);
  const int64_t y_floats = tile.groups() * tile.rows() * s.Q * kLanes, x_floats = tile.groups() * x_rows * s.W * kLanes;
  return {Most(24, kCacheFloats / y_floats / 24 * 24), Most(24, kCacheFloats / x_floats / 24 * 24)};
}

// Kernels [first, last) of the whole convolution over a tile. next: the tile that comes after, empty for the last.
void AddTile(const Shape& s, const Tile& tile, const Tile& next, Range kernels, float* w, float* bias) {
  const Range sizes = PieceSizes(s, tile);
  for (int64_t j = kernels.first / s.K; j * s.K < kernels.last; j++) {
    const Range part = {Most(0, kernels.first - j * s.K), Least(s.K, kernels.last - j * s.K)};
    for (int64_t k = part.first; k < part.last; k += sizes.first)
      for (int64_t c = 0; c < s.C; c += sizes.last)
        (s.turned ? AddTurned : AddSums)(s,
                                         {tile,
                                          next,
                                          s.x + j * s.C * s.x_channel,
                                          s.y + j * s.K * s.y_channel,
                                          {k, Least(part.last, k + sizes.first)},
                                          {c, Least(s.C, c + sizes.last)}},
                                         w + j * s.K * s.C * s.R * s.S);
  }
  if (bias != nullptr) AddBias(s, tile, kernels, bias);
}

// Whether dy's rows are few enough for one tile.
bool Fits(const Shape& s, int64_t rows) {
  return s.turned ? TurnedFits(s, rows) : BlockFloats(s, rows) <= kTileFloats;
}

// Kernels over groups of lanes, tile by tile, onto zeros or what is there.
void AddAll(const Shape& s, Range groups, Range kernels, float* w, float* bias) {
  int64_t at_once = 1, parts = 1;  // maps in a tile; or of a map's rows, of about equal sizes
  while (Fits(s, s.P * (at_once + 1)) && at_once < groups.size()) at_once++;
  while (parts < s.P && !Fits(s, DivideUp(s.P, parts))) parts++;
  const int64_t tiles = DivideUp(groups.size(), at_once) * parts;
  const auto tile_at = [&](int64_t t) -> Tile {
    if (t >= tiles) return {};
    const int64_t g = groups.first + t / parts * at_once;
    const Range rows = Part({0, s.P}, t % parts, parts);
    return {g, Least(groups.last, g + at_once), rows.first, rows.last};
  };
  for (int64_t t = 0; t < tiles; t++) AddTile(s, tile_at(t), tile_at(t + 1), kernels, w, bias);
}

void Clear(float* p, int64_t n) { memset(p, 0, size_t(n) * sizeof(float)); }

}  // namespace

// By groups, into the slot's partial sums: w + slot * w_slot, and if bias is not null dL/dbias in bias + slot * w_slot.
void DirectWeightGradient(const void* arguments, const PellucidUnits* range) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const Shape s = ShapeOf(a, range->end - range->begin);
  float* w = a.w + range->slot * a.w_slot;
  float* bias = a.bias != nullptr ? a.bias + range->slot * a.w_slot : nullptr;
  if (range->first) {
    Clear(w, a.K * s.C * s.R * s.S);
    if (bias != nullptr) Clear(bias, a.K);
  }
  AddAll(s, {range->begin, range->end}, {0, a.K}, w, bias);
}

// Units: blocks of `variant` kernels, each over all groups; w and bias (or null) are written whole.
void DirectWeightGradientBlocks(const void* arguments, const PellucidUnits* range) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const Shape s = ShapeOf(a, a.G);
  const int64_t size = a.variant > 0 ? a.variant : 32, n = s.C * s.R * s.S;
  const Range kernels = {range->begin * size, Least(a.K, range->end * size)};
  if (kernels.first >= kernels.last) return;
  Clear(a.w + kernels.first * n, (kernels.last - kernels.first) * n);
  if (a.bias != nullptr) Clear(a.bias + kernels.first, kernels.last - kernels.first);
  AddAll(s, {0, a.G}, kernels, a.w, a.bias);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
