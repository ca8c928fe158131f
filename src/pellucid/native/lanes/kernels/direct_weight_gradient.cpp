// The weight's gradient of a convolution, directly: any kernel size, stride, dilation, padding and groups of channels.
//
//   dw[k, c, r, s] = sum over n, p, q of dy[n, k, p, q] x[n, c, p stride_h + r dilation_h - pad_h, ...]
//
// A sum is a whole vector while it grows, one lane a picture; the lanes are added once, at the end of a tile. A block of
// registers is kRowKernels x kRowChannels x S such sums for one row r of the kernel: for each pixel of dy it loads the
// kernels' dy and the channels' window of x, and multiplies each with each. Kernels of other widths, and dilated ones, go
// tap by tap (S = 1). What padding would multiply is left out: rows by the loop's bounds, columns by shorter windows at
// the picture's edges.
//
// A tile is some rows of dy, or some groups' whole maps: so many pixels that dy of a block of registers stays in L1 for
// all rows r and channels, and x of the tile in L2 for all kernels. Tiles do not depend on how the work is cut, so that
// bits do not either. In dead lanes dy is 0 and x finite: they add nothing.
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr bool kManyRegisters = kLanes == 16;  // 32 vector registers, else 16
constexpr int64_t kTilePixels = 112;
constexpr int64_t kCacheFloats = 3 << 16;  // of x, or of dy, that stay in L2: 768 KB

// The sizes of a block of registers for a window of S taps.
template <int S>
struct Block {
  static constexpr int kKernels = S == 1 ? 6 : S == 7 ? 3 : 4;
  static constexpr int kChannels = S == 1 ? 4 : S == 2 ? 3 : S == 3 ? 2 : 1;
};
template <int S>
  requires(!kManyRegisters)
struct Block<S> {
  static constexpr int kKernels = S == 1 ? 3 : S == 7 ? 1 : 2;
  static constexpr int kChannels = S == 1 ? 3 : S <= 3 ? 2 : 1;
};

// One convolution as the loops below see it: strides in floats, and what of it a tile covers.
struct Shape {
  const float* x;
  const float* y;
  int64_t x_group, x_channel, x_row, x_step;  // x_step: from a pixel of dy to the next
  int64_t y_group, y_channel, y_row;
  int64_t H, W, P, Q, R, S;
  int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int64_t C, K;  // of one group of channels
  int64_t conv_groups;
  bool windows;  // whether whole rows of the kernel are done at once
};

struct Tile {
  int64_t first_group, last_group;
  int64_t first_row, last_row;  // of dy
};

struct Range {
  int64_t first, last;
};

PELLUCID_INLINE int64_t DivideUp(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// The places 0 <= i < count at which 0 <= i * stride + offset < size.
PELLUCID_INLINE Range Inside(int64_t count, int64_t size, int64_t stride, int64_t offset) {
  const int64_t first = Most(0, DivideUp(-offset, stride));
  return {first, Most(first, Least(count, DivideUp(size - offset, stride)))};
}

PELLUCID_INLINE bool HasWindow(int64_t S) { return S == 2 || S == 3 || S == 5 || S == 7; }

Shape ShapeOf(const ConvolutionArguments& a) {
  Shape s{};
  s.x = a.x, s.y = a.y, s.x_group = a.x_group, s.y_group = a.y_group;
  s.H = a.H, s.W = a.W, s.P = a.P, s.Q = a.Q, s.R = a.R, s.S = a.S;
  s.stride_h = a.stride_h, s.stride_w = a.stride_w, s.pad_h = a.pad_h, s.pad_w = a.pad_w;
  s.dilation_h = a.dilation_h, s.dilation_w = a.dilation_w, s.conv_groups = a.conv_groups;
  s.C = a.C / a.conv_groups, s.K = a.K / a.conv_groups;
  s.x_channel = s.H * s.W * kLanes, s.y_channel = s.P * s.Q * kLanes;
  if (s.R == 1 && s.S == 1 && s.H == s.P && s.W == s.Q && s.stride_h == 1 && s.stride_w == 1 && !s.pad_h && !s.pad_w)
    s.H = s.P = s.H * s.W, s.W = s.Q = 1;  // no window: rows have no meaning, and a tile may end anywhere
  s.x_row = s.W * kLanes, s.y_row = s.Q * kLanes, s.x_step = s.stride_w * kLanes;
  // Every pixel's window is cut on one side at most.
  const int64_t left = DivideUp(s.pad_w, s.stride_w), right = DivideUp(s.W - s.S + 1 + s.pad_w, s.stride_w);
  s.windows = HasWindow(s.S) && s.dilation_w == 1 && right >= Least(left, s.Q);
  return s;
}

// Taps LO..HI of the window at one pixel.
template <int KB, int CB, int S, int LO, int HI>
PELLUCID_INLINE void Pixel(Vector (&sum)[KB][CB][S], const float* x, int64_t x_channel, const float* y,
                           int64_t y_channel) {
  Vector d[KB];
  PELLUCID_UNROLL(8)
  for (int k = 0; k < KB; k++) d[k] = Load(y + k * y_channel);
  PELLUCID_UNROLL(8)
  for (int c = 0; c < CB; c++)
    PELLUCID_UNROLL(8)
    for (int s = LO; s < HI; s++) {
      const Vector v = Load(x + c * x_channel + s * kLanes);
      PELLUCID_UNROLL(8)
      for (int k = 0; k < KB; k++) sum[k][c][s] += d[k] * v;
    }
}

// The window at the picture's left edge, where its first `cut` taps lie outside, and at its right edge, with its last.
template <int KB, int CB, int S, int N = 1>
PELLUCID_INLINE void LeftPixel(int64_t cut, Vector (&sum)[KB][CB][S], const float* x, int64_t x_channel, const float* y,
                               int64_t y_channel) {
  if constexpr (N < S) {
    if (cut == N)
      Pixel<KB, CB, S, N, S>(sum, x, x_channel, y, y_channel);
    else
      LeftPixel<KB, CB, S, N + 1>(cut, sum, x, x_channel, y, y_channel);
  }
}
template <int KB, int CB, int S, int N = 1>
PELLUCID_INLINE void RightPixel(int64_t cut, Vector (&sum)[KB][CB][S], const float* x, int64_t x_channel,
                                const float* y, int64_t y_channel) {
  if constexpr (N < S) {
    if (cut == N)
      Pixel<KB, CB, S, 0, S - N>(sum, x, x_channel, y, y_channel);
    else
      RightPixel<KB, CB, S, N + 1>(cut, sum, x, x_channel, y, y_channel);
  }
}

// The sums of KB kernels (dy from y on) and CB channels (from x on) for S taps of row r from tap s on, over a tile, to
// out[KB][CB] vectors of S, out_step apart.
template <int KB, int CB, int S>
void Sums(const Shape& shape, const Tile& tile, const float* x, const float* y, int64_t r, int64_t s, float* out,
          int64_t out_step) {
  Vector sum[KB][CB][S] = {};
  const int64_t down = r * shape.dilation_h - shape.pad_h, across = s * shape.dilation_w - shape.pad_w;
  Range rows = Inside(shape.P, shape.H, shape.stride_h, down);
  rows = {Most(rows.first, tile.first_row), Least(rows.last, tile.last_row)};
  // Columns where the whole window is inside; before and after them, where a part of it is (none for S = 1).
  Range whole = Inside(shape.Q, shape.W - S + 1, shape.stride_w, across);
  int64_t begin = 0, end = shape.Q;
  if (S == 1) begin = whole.first, end = whole.last;
  int64_t row_count = rows.last - rows.first, x_row = shape.stride_h * shape.x_row, y_row = shape.y_row;
  if (S == 1 && row_count > 0 && whole.first == 0 && whole.last == shape.Q && y_row == shape.Q * kLanes &&
      x_row == shape.Q * shape.x_step)
    end = whole.last = row_count * shape.Q, row_count = 1;  // rows that follow each other are one
  const int64_t x_step = shape.x_step, x_channel = shape.x_channel, y_channel = shape.y_channel;
  for (int64_t g = tile.first_group; g < tile.last_group; g++) {
    const float* x_line = x + g * shape.x_group + (rows.first * shape.stride_h + down) * shape.x_row + across * kLanes;
    const float* y_line = y + g * shape.y_group + rows.first * shape.y_row;
    for (int64_t p = 0; p < row_count; p++, x_line += x_row, y_line += y_row) {
      const float* xq = x_line + begin * x_step;
      const float* yq = y_line + begin * kLanes;
      for (int64_t q = begin; q < whole.first; q++, xq += x_step, yq += kLanes)
        LeftPixel<KB, CB, S>(-(q * shape.stride_w + across), sum, xq, x_channel, yq, y_channel);
      for (int64_t q = whole.first; q < whole.last; q++, xq += x_step, yq += kLanes)
        Pixel<KB, CB, S, 0, S>(sum, xq, x_channel, yq, y_channel);
      for (int64_t q = whole.last; q < end; q++, xq += x_step, yq += kLanes)
        RightPixel<KB, CB, S>(q * shape.stride_w + across + S - shape.W, sum, xq, x_channel, yq, y_channel);
    }
  }
  PELLUCID_UNROLL(8)
  for (int k = 0; k < KB; k++)
    PELLUCID_UNROLL(8)
    for (int c = 0; c < CB; c++)
      PELLUCID_UNROLL(8)
      for (int i = 0; i < S; i++) Store(out + (k * CB + c) * out_step + i * kLanes, sum[k][c][i]);
}

typedef void (*SumsFunction)(const Shape&, const Tile&, const float*, const float*, int64_t, int64_t, float*, int64_t);

// The function for so many kernels and channels.
template <int S, int KB = Block<S>::kKernels, int CB = Block<S>::kChannels>
SumsFunction Choose(int64_t kernels, int64_t channels) {
  if constexpr (KB > 1)
    if (kernels < KB) return Choose<S, KB - 1, CB>(kernels, channels);
  if constexpr (CB > 1)
    if (channels < CB) return Choose<S, KB, CB - 1>(kernels, channels);
  return Sums<KB, CB, S>;
}

// The lanes' sums of n vectors.
void AddLanes(const float* vectors, int64_t n, float* sums) {
  for (int64_t i = 0; i < n; i += kLanes) {
    Vector a[kLanes];
    PELLUCID_UNROLL(16)
    for (int j = 0; j < kLanes; j++) a[j] = Load(vectors + (i + j) * kLanes);
    Store(sums + i, LaneSums(a));
  }
}

PELLUCID_INLINE int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// dw of kernels [k0, k1) and channels [c0, c1) of a group of channels over a tile, added to. x, y, w: of the group.
template <int S>
void Add(const Shape& shape, const Tile& tile, const float* x, const float* y, Range kernels, Range channels, float* w) {
  const int64_t taps = shape.R * shape.S;
  const int64_t most = RoundUp(Block<S>::kKernels * Block<S>::kChannels * taps, kLanes);
  float* vectors = pellucid_lanes_scratch(0, most * (kLanes + 1));
  float* sums = vectors + most * kLanes;
  const int64_t K = kernels.last - kernels.first, C = channels.last - channels.first;
  const int64_t k_blocks = DivideUp(K, Block<S>::kKernels), c_blocks = DivideUp(C, Block<S>::kChannels);
  for (int64_t i = 0; i < k_blocks; i++) {
    const int64_t k = kernels.first + i * K / k_blocks, kb = kernels.first + (i + 1) * K / k_blocks - k;
    for (int64_t j = 0; j < c_blocks; j++) {
      const int64_t c = channels.first + j * C / c_blocks, cb = channels.first + (j + 1) * C / c_blocks - c;
      const SumsFunction function = Choose<S>(kb, cb);
      for (int64_t r = 0; r < shape.R; r++)
        for (int64_t s = 0; s < shape.S; s += S)
          function(shape, tile, x + c * shape.x_channel, y + k * shape.y_channel, r, s,
                   vectors + (r * shape.S + s) * kLanes, taps * kLanes);
      AddLanes(vectors, kb * cb * taps, sums);
      for (int64_t b = 0; b < kb; b++) {
        float* to = w + ((k + b) * shape.C + c) * taps;
        for (int64_t t = 0; t < cb * taps; t++) to[t] += sums[b * cb * taps + t];
      }
    }
  }
}

void AddBlock(const Shape& s, const Tile& tile, const float* x, const float* y, Range kernels, Range channels, float* w) {
  switch (s.windows ? s.S : 1) {
    case 2: return Add<2>(s, tile, x, y, kernels, channels, w);
    case 3: return Add<3>(s, tile, x, y, kernels, channels, w);
    case 5: return Add<5>(s, tile, x, y, kernels, channels, w);
    case 7: return Add<7>(s, tile, x, y, kernels, channels, w);
    default: return Add<1>(s, tile, x, y, kernels, channels, w);
  }
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

// Kernels [k0, k1) of the whole convolution over a tile. Pieces of x and dy are taken that stay in L2.
void AddTile(const Shape& s, const Tile& tile, Range kernels, float* w, float* bias) {
  const int64_t maps = tile.last_group - tile.first_group, rows = tile.last_row - tile.first_row;
  const int64_t y_floats = maps * rows * s.Q * kLanes;
  const int64_t x_floats = maps * Least(s.H, rows * s.stride_h + (s.R - 1) * s.dilation_h) * s.W * kLanes;
  const int64_t k_piece = Most(24, kCacheFloats / y_floats / 24 * 24), c_piece = Most(24, kCacheFloats / x_floats / 24 * 24);
  for (int64_t j = kernels.first / s.K; j * s.K < kernels.last; j++) {
    const float* x = s.x + j * s.C * s.x_channel;
    const float* y = s.y + j * s.K * s.y_channel;
    const Range part = {Most(0, kernels.first - j * s.K), Least(s.K, kernels.last - j * s.K)};
    for (int64_t k = part.first; k < part.last; k += k_piece)
      for (int64_t c = 0; c < s.C; c += c_piece)
        AddBlock(s, tile, x, y, {k, Least(part.last, k + k_piece)}, {c, Least(s.C, c + c_piece)},
                 w + j * s.K * s.C * s.R * s.S);
  }
  if (bias != nullptr) AddBias(s, tile, kernels, bias);
}

// Kernels over groups of lanes, tile by tile, onto zeros or what is there.
void AddAll(const Shape& s, Range groups, Range kernels, float* w, float* bias) {
  const int64_t pixels = s.P * s.Q, at_once = Most(1, kTilePixels / pixels);
  const int64_t parts = at_once > 1 ? 1 : DivideUp(s.P, Most(1, kTilePixels / s.Q));  // of the rows, of about equal sizes
  for (int64_t g = groups.first; g < groups.last; g += at_once)
    for (int64_t i = 0; i < parts; i++)
      AddTile(s, {g, Least(groups.last, g + at_once), i * s.P / parts, (i + 1) * s.P / parts}, kernels, w, bias);
}

void Clear(float* p, int64_t n) { memset(p, 0, size_t(n) * sizeof(float)); }

}  // namespace

// By groups, into the slot's partial sums: w + slot * w_slot, and if bias is not null dL/dbias in bias + slot * w_slot.
void DirectWeightGradient(const void* arguments, const PellucidUnits* range) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const Shape s = ShapeOf(a);
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
  const Shape s = ShapeOf(a);
  const int64_t size = a.variant > 0 ? a.variant : 32, n = s.C * s.R * s.S;
  const Range kernels = {range->begin * size, Least(a.K, range->end * size)};
  if (kernels.first >= kernels.last) return;
  Clear(a.w + kernels.first * n, (kernels.last - kernels.first) * n);
  if (a.bias != nullptr) Clear(a.bias + kernels.first, kernels.last - kernels.first);
  AddAll(s, {0, a.G}, kernels, a.w, a.bias);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
