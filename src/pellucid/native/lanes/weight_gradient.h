// What both ways to the weight's gradient of a convolution share: the convolution as loops see it, and its tiles.
// Included by direct_weight_gradient.cpp alone.
#pragma once

#include "kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr bool kManyRegisters = kLanes == 16;  // 32 vector registers, else 16

// One convolution: strides in floats, sizes of one group of channels.
struct Shape {
  const float* x;
  const float* y;
  int64_t x_group, x_channel, x_row, x_step;  // x_step: from a pixel of dy to the next
  int64_t y_group, y_channel, y_row;
  int64_t H, W, P, Q, R, S;
  int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int64_t C, K;  // of one group of channels
  int64_t conv_groups;
  bool turned;   // whether features are in the lanes (weight_turned.h), not pictures (weight_sums.h)
  bool windows;  // of weight_sums.h: whether whole rows of the kernel are done at once
  bool is_far;   // whether x and dy are too large for L2: then they are fetched ahead
};

// Some groups of lanes and some rows of dy.
struct Tile {
  int64_t first_group, last_group;
  int64_t first_row, last_row;

  int64_t groups() const { return last_group - first_group; }
  int64_t rows() const { return last_row - first_row; }
};

struct Range {
  int64_t first, last;

  int64_t size() const { return last - first; }
};

// One convolution group's kernels and channels over a tile. next: the tile that comes after, empty for the last.
struct Piece {
  Tile tile, next;
  const float *x, *y;  // of the convolution group
  Range kernels, channels;
};

PELLUCID_INLINE int64_t DivideUp(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }
PELLUCID_INLINE int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Part i of a range that is cut into so many parts of about equal sizes.
PELLUCID_INLINE Range Part(Range whole, int64_t i, int64_t parts) {
  return {whole.first + i * whole.size() / parts, whole.first + (i + 1) * whole.size() / parts};
}

// The places 0 <= i < count at which 0 <= i * stride + offset < size.
PELLUCID_INLINE Range Inside(int64_t count, int64_t size, int64_t stride, int64_t offset) {
  const int64_t first = Most(0, DivideUp(-offset, stride));
  return {first, Most(first, Least(count, DivideUp(size - offset, stride)))};
}

// sums[0, n) added to w[0, n).
PELLUCID_INLINE void AddRow(const float* sums, int64_t n, float* w) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Vector a, b;
    memcpy(&a, w + i, sizeof a), memcpy(&b, sums + i, sizeof b);
    a += b;
    memcpy(w + i, &a, sizeof a);
  }
  for (; i < n; i++) w[i] += sums[i];
}

}  // namespace

}  // namespace pellucid::lanes::PELLUCID_ISA
