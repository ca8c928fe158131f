// The weight's gradient with pictures in the lanes, for convolutions of few channels.
//
// A sum is a whole vector while it grows, one lane a picture; the lanes are added once, at the end of a tile. A block
// of registers is kKernels x kChannels x S such sums for one row r of the kernel (a pass): for each pixel of dy it
// loads the kernels' dy and the channels' window of x, and multiplies each with each. Kernels of other widths, and
// dilated ones, go tap by tap (S = 1). What padding would multiply is left out: rows by the loop's bounds, columns by shorter
// windows at the picture's edges. A tile is so small that dy of a block stays in L1 for all passes and channels.
#pragma once

#include "weight_gradient.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int64_t kTileFloats = 10240;  // of x and dy that a pass reads: 40 KB of L1

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

// Taps LO..HI of the window at one pixel.
template <int KB, int CB, int S, int LO, int HI>
PELLUCID_INLINE void Pixel(Vector (&sum)[KB][CB][S], const float* x, int64_t x_channel, const float* y,
                           int64_t y_channel) {
  Vector d[KB];
  PELLUCID_UNROLL(8)
  for (int k = 0; k < KB; k++) d[k] = LoadOnce(y + k * y_channel);
  PELLUCID_UNROLL(8)
  for (int c = 0; c < CB; c++)
    PELLUCID_UNROLL(8)
    for (int s = LO; s < HI; s++) {
      const float* at = x + c * x_channel + s * kLanes;
      const Vector v = KB > 1 ? LoadOnce(at) : Load(at);
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

// Taps of one row of the kernel (of all S, or one) over a tile: where x and dy begin, in floats, how many rows of dy,
// and how many pixels of each have a window that is cut on the left, whole, or cut on the right.
struct Pass {
  int64_t x, y, rows, left, whole, right;
  int64_t left_cut, right_cut;  // taps outside at the first such pixel
  int64_t place;                // of its first tap among R S
};

// What a block of registers fetches into L2 for those after it, while it works: at each pixel a line of dy that is `y`
// floats further, and a line of x. (The processor's own prefetching stops at pages, and rows are short.)
struct Ahead {
  int64_t y, y_step, y_count;  // of the first pass; each further one of y_count takes the next channel, y_step on
  int64_t x, x_step, x_count;
  int64_t y_pass, x_pass;      // of the passes so far

  int64_t NextY() { return y_pass++ < y_count ? y + (y_pass - 1) * y_step : 0; }
  int64_t NextX() { return x_pass++ < x_count ? x + (x_pass - 1) * x_step : 0; }
};

// The sums of KB kernels (dy from y on) and CB channels (from x on), all taps, over a tile: out[KB][CB][R S] vectors.
template <int KB, int CB, int S, bool kAhead>
void Sums(const Shape& shape, const Tile& tile, const Pass* passes, int64_t pass_count, const float* x, const float* y,
          float* out, Ahead ahead) {
  const int64_t x_row = shape.stride_h * shape.x_row, y_row = shape.y_row, x_step = shape.x_step;
  const int64_t x_channel = shape.x_channel, y_channel = shape.y_channel, stride = shape.stride_w;
  const int64_t out_step = shape.R * shape.S * kLanes;
  for (const Pass* pass = passes; pass < passes + pass_count; pass++) {
    Vector sum[KB][CB][S] = {};
    const int64_t left = pass->left, whole = pass->whole, right = pass->right;
    const int64_t y_ahead = ahead.NextY(), x_ahead = ahead.NextX();
    for (int64_t g = tile.first_group; g < tile.last_group; g++) {
      const float* x_line = x + g * shape.x_group + pass->x;
      const float* y_line = y + g * shape.y_group + pass->y;
      for (int64_t p = pass->rows; p > 0; p--, x_line += x_row, y_line += y_row) {
        const float *xq = x_line, *yq = y_line;
        int64_t cut = pass->left_cut;
        for (int64_t q = left; q > 0; q--, cut -= stride, xq += x_step, yq += kLanes)
          LeftPixel<KB, CB, S>(cut, sum, xq, x_channel, yq, y_channel);
        for (int64_t q = whole; q > 0; q--, xq += x_step, yq += kLanes) {
          if constexpr (kAhead) __builtin_prefetch(yq + y_ahead, 0, 2), __builtin_prefetch(xq + x_ahead, 0, 2);
          Pixel<KB, CB, S, 0, S>(sum, xq, x_channel, yq, y_channel);
        }
        cut = pass->right_cut;
        for (int64_t q = right; q > 0; q--, cut += stride, xq += x_step, yq += kLanes)
          RightPixel<KB, CB, S>(cut, sum, xq, x_channel, yq, y_channel);
      }
    }
    PELLUCID_UNROLL(8)
    for (int k = 0; k < KB; k++)
      PELLUCID_UNROLL(8)
      for (int c = 0; c < CB; c++)
        PELLUCID_UNROLL(8)
        for (int i = 0; i < S; i++) Store(out + (k * CB + c) * out_step + (pass->place + i) * kLanes, sum[k][c][i]);
  }
}

// The passes of a tile; their number.
int64_t Passes(const Shape& s, const Tile& tile, Pass* passes) {
  Pass* pass = passes;
  const int64_t taps = s.windows ? s.S : 1;
  for (int64_t r = 0; r < s.R; r++) {
    const int64_t down = r * s.dilation_h - s.pad_h;
    const Range inside = Inside(s.P, s.H, s.stride_h, down);
    const int64_t first = Most(inside.first, tile.first_row), rows = Most(0, Least(inside.last, tile.last_row) - first);
    for (int64_t t = 0; t < s.S; t += taps, pass++) {
      const int64_t across = t * s.dilation_w - s.pad_w;
      const Range whole = Inside(s.Q, s.W - taps + 1, s.stride_w, across);
      const int64_t begin = s.windows ? 0 : whole.first, end = s.windows ? s.Q : whole.last;
      *pass = {(first * s.stride_h + down) * s.x_row + begin * s.x_step + across * kLanes,
               first * s.y_row + begin * kLanes,
               rows,
               whole.first - begin,
               whole.last - whole.first,
               end - whole.last,
               -(begin * s.stride_w + across),
               whole.last * s.stride_w + across + taps - s.W,
               r * s.S + t};
      if (pass->whole == s.Q && s.stride_h * s.x_row == s.Q * s.x_step)  // rows that follow each other are one
        pass->whole *= rows, pass->rows = rows > 0;
    }
  }
  return pass - passes;
}

typedef void (*SumsFunction)(const Shape&, const Tile&, const Pass*, int64_t, const float*, const float*, float*,
                             Ahead);

// The function for so many kernels and channels.
template <int S, int KB = Block<S>::kKernels, int CB = Block<S>::kChannels>
SumsFunction Choose(int64_t kernels, int64_t channels, bool ahead) {
  if constexpr (KB > 1)
    if (kernels < KB) return Choose<S, KB - 1, CB>(kernels, channels, ahead);
  if constexpr (CB > 1)
    if (channels < CB) return Choose<S, KB, CB - 1>(kernels, channels, ahead);
  return ahead ? Sums<KB, CB, S, true> : Sums<KB, CB, S, false>;
}

// The lanes' sums of kLanes vectors in memory. The first step takes halves straight from there: shuffles are what a
// core has fewest of.
PELLUCID_INLINE Vector LaneSumsAt(const float* vectors) {
#if PELLUCID_LANES == 16
  typedef float Half __attribute__((vector_size(32), aligned(32), may_alias));
  const Half* h = reinterpret_cast<const Half*>(vectors);
  Vector b[8];
  PELLUCID_UNROLL(8)
  for (int i = 0; i < 8; i++)
    b[i] = PELLUCID_SHUFFLE(h[2 * i], h[2 * i + 16], 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) +
           PELLUCID_SHUFFLE(h[2 * i + 1], h[2 * i + 17], 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return LaneSumsOfFolded(b);
#else
  Vector a[kLanes];
  PELLUCID_UNROLL(8)
  for (int j = 0; j < kLanes; j++) a[j] = Load(vectors + j * kLanes);
  return LaneSums(a);
#endif
}

// dw of a piece, added to w (of the convolution group).
template <int S>
void Add(const Shape& shape, const Piece& piece, float* w) {
  const int64_t taps = shape.R * shape.S;
  Pass* passes = reinterpret_cast<Pass*>(pellucid_lanes_scratch(1, taps * int64_t{sizeof(Pass) / sizeof(float)}));
  const int64_t pass_count = Passes(shape, piece.tile, passes);
  const int64_t most = RoundUp(Block<S>::kKernels * Block<S>::kChannels * taps, kLanes);
  float* vectors = pellucid_lanes_scratch(0, most * (kLanes + 1));
  float* sums = vectors + most * kLanes;
  const Range kernels = piece.kernels, channels = piece.channels;
  const int64_t k_blocks = DivideUp(kernels.size(), Block<S>::kKernels);
  const int64_t c_blocks = DivideUp(channels.size(), Block<S>::kChannels);
  const int64_t groups_on = piece.next.first_group - piece.tile.first_group;
  const int64_t y_on = groups_on * shape.y_group + (piece.next.first_row - piece.tile.first_row) * shape.y_row;
  const int64_t x_on = groups_on * shape.x_group +
                       (piece.next.first_row - piece.tile.first_row) * shape.stride_h * shape.x_row;
  const bool is_last = piece.next.groups() == 0;
  for (int64_t i = 0; i < k_blocks; i++) {
    const Range block = Part(kernels, i, k_blocks);
    const bool is_end = i + 1 == k_blocks;  // the next dy is the next tile's
    const Range after = Part(kernels, is_end ? 0 : i + 1, k_blocks);
    const int64_t k = block.first, kb = block.size();
    Ahead ahead{(after.first - k) * shape.y_channel + (is_end ? y_on : 0), shape.y_channel,
                is_end && is_last ? 0 : after.size(), x_on, shape.x_channel, 0, 0, 0};
    for (int64_t j = 0; j < c_blocks; j++) {
      const Range part = Part(channels, j, c_blocks);
      const int64_t c = part.first, cb = part.size();
      ahead.x_count = is_last ? 0 : cb, ahead.x_pass = i * pass_count, ahead.y_pass = j * pass_count;
      Choose<S>(kb, cb, shape.is_far)(shape, piece.tile, passes, pass_count, piece.x + c * shape.x_channel,
                        piece.y + k * shape.y_channel, vectors, ahead);
      for (int64_t n = 0; n < kb * cb * taps; n += kLanes) Store(sums + n, LaneSumsAt(vectors + n * kLanes));
      for (int64_t b = 0; b < kb; b++) AddRow(sums + b * cb * taps, cb * taps, w + ((k + b) * shape.C + c) * taps);
    }
  }
}

void AddSums(const Shape& s, const Piece& piece, float* w) {
  switch (s.windows ? s.S : 1) {
    case 2: return Add<2>(s, piece, w);
    case 3: return Add<3>(s, piece, w);
    case 5: return Add<5>(s, piece, w);
    case 7: return Add<7>(s, piece, w);
    default: return Add<1>(s, piece, w);
  }
}

// How many floats of dy and x a pass reads in a tile of some rows; of a 1 x 1 kernel dy alone, since no part of x is
// read twice.
template <int S>
int64_t BlockFloats(const Shape& s, int64_t rows) {
  return (Block<S>::kKernels * s.Q + (s.R * s.S > 1 ? Block<S>::kChannels * s.W : 0)) * rows * kLanes;
}

int64_t BlockFloats(const Shape& s, int64_t rows) {
  switch (s.windows ? s.S : 1) {
    case 2: return BlockFloats<2>(s, rows);
    case 3: return BlockFloats<3>(s, rows);
    case 5: return BlockFloats<5>(s, rows);
    case 7: return BlockFloats<7>(s, rows);
    default: return BlockFloats<1>(s, rows);
  }
}

}  // namespace

}  // namespace pellucid::lanes::PELLUCID_ISA
