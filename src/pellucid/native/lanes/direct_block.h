// Register blocks of direct convolution (direct_pass.h): KB channels x PB pixels, neighbours in a row or in a column,
// KB PB <= 24 sums (12 with 16 registers). A tap costs KB + PB loads for KB PB multiply-adds.
#pragma once

#include "kernels.h"
#if PELLUCID_LANES == 16
#include <immintrin.h>
#endif

namespace pellucid::lanes::PELLUCID_ISA {
namespace {

#if PELLUCID_LANES == 16
constexpr int kBlock = 8, kSums = 24;
#else
constexpr int kBlock = 4, kSums = 12;
#endif
constexpr int kMostPixels = 8;
constexpr int kLine = 16;  // floats of a cache line

PELLUCID_INLINE int BlockPixels(int channels) {
  return channels * kMostPixels < kSums ? kMostPixels : kSums / channels;
}
PELLUCID_INLINE int64_t Parts(int64_t n, int64_t most) { return (n + most - 1) / most; }

constexpr float kNoBias[kBlock] = {};

struct Tile {  // one register block
  const float* x;
  const float* w;
  const float* next;  // the weights after these: one line of them is fetched into the cache for each input channel
  float* y;
  const float* bias;
  float* statistics;
  int64_t x_channel, x_row, x_tap, x_pixel;
  int64_t w_channel, w_row;
  int64_t y_channel, y_pixel;
  int64_t C, rows, taps;
  bool load, first;
  bool past;  // whether y is written past the caches
};

// The sums are in registers here: the compiler otherwise moves them to memory across the loops.
template <int KB, int PB>
PELLUCID_INLINE void Hold(Vector (&sum)[KB][PB]) {
#if defined(__x86_64__)
  PELLUCID_UNROLL(8)
  for (int k = 0; k < KB; k++) {
    PELLUCID_UNROLL(8)
    for (int p = 0; p < PB; p++) __asm__ volatile("" : "+v"(sum[k][p]));
  }
#endif
}

// A factor still stands in its register here: a multiply-add puts its result in place of the sum, not of the factor.
PELLUCID_INLINE void Keep(const Vector& factor) {
#if defined(__x86_64__)
  __asm__ volatile("" : : "v"(factor));
#endif
}

template <int KB, int PB>
PELLUCID_INLINE void AddTap(Vector (&sum)[KB][PB], const float* x, int64_t x_pixel, const float* w) {
  if constexpr (PB <= KB) {  // hold the fewer factors
    Vector pixel[PB];
    PELLUCID_UNROLL(8)
    for (int p = 0; p < PB; p++) pixel[p] = Load(x + p * x_pixel);
    PELLUCID_UNROLL(8)
    for (int k = 0; k < KB; k++) {
      const Vector weight = InRegister(w[k]);
      PELLUCID_UNROLL(8)
      for (int p = 0; p < PB; p++) sum[k][p] += pixel[p] * weight;
      Keep(weight);
    }
    PELLUCID_UNROLL(8)
    for (int p = 0; p < PB; p++) Keep(pixel[p]);
  } else {
    Vector weight[KB];
    PELLUCID_UNROLL(8)
    for (int k = 0; k < KB; k++) weight[k] = InRegister(w[k]);
    PELLUCID_UNROLL(8)
    for (int p = 0; p < PB; p++) {
      const Vector pixel = Load(x + p * x_pixel);
      PELLUCID_UNROLL(8)
      for (int k = 0; k < KB; k++) sum[k][p] += pixel * weight[k];
      if constexpr (KB > 1) Keep(pixel);
    }
    PELLUCID_UNROLL(8)
    for (int k = 0; k < KB; k++) Keep(weight[k]);
  }
  Hold<KB, PB>(sum);
}

// All input channels and rows of taps; S: taps of a row if that is known, else 0.
template <int KB, int PB, int S>
PELLUCID_INLINE void AddRows(Vector (&sum)[KB][PB], const Tile& t) {
  const float *x = t.x, *w = t.w, *next = t.next;
  const int64_t x_pixel = t.x_pixel, x_tap = t.x_tap, x_row = t.x_row, w_row = t.w_row, rows = t.rows;
  for (int64_t c = t.C; c > 0; c--, x += t.x_channel, w += t.w_channel, next += kLine) {
    __builtin_prefetch(next, 0, 2);
    const float *xr = x, *wr = w;
    for (int64_t r = rows; r > 0; r--, xr += x_row, wr += w_row) {
      if constexpr (S > 0) {
        PELLUCID_UNROLL(8)
        for (int s = 0; s < S; s++) AddTap<KB, PB>(sum, xr + s * x_tap, x_pixel, wr + s * KB);
      } else {
        const float *xs = xr, *ws = wr;
        for (int64_t s = t.taps; s > 0; s--, xs += x_tap, ws += KB) AddTap<KB, PB>(sum, xs, x_pixel, ws);
      }
    }
  }
}

template <int KB, int PB>
PELLUCID_INLINE void AddChannels(Vector (&sum)[KB][PB], const Tile& t) {  // one tap
  const float *x = t.x, *w = t.w, *next = t.next;
  const int64_t x_pixel = t.x_pixel, x_channel = t.x_channel, w_channel = t.w_channel;
  for (int64_t c = t.C; c > 0; c--, x += x_channel, w += w_channel, next += kLine) {
    __builtin_prefetch(next, 0, 2);
    AddTap<KB, PB>(sum, x, x_pixel, w);
  }
}

template <int KB, int PB>
PELLUCID_INLINE void AddStatistics(const Vector (&sum)[KB][PB], const Tile& t) {
  PELLUCID_UNROLL(8)
  for (int k = 0; k < KB; k++) {
    float* s = t.statistics + k * 3 * kLanes;
    const Vector shift = t.first ? sum[k][0] : Load(s);
    Vector first = t.first ? Vector{} : Load(s + kLanes), second = t.first ? Vector{} : Load(s + 2 * kLanes);
    PELLUCID_UNROLL(8)
    for (int p = 0; p < PB; p++) {
      const Vector d = sum[k][p] - shift;
      first += d;
      second += d * d;
    }
    Store(s, shift);
    Store(s + kLanes, first);
    Store(s + 2 * kLanes, second);
  }
}

template <int KB, int PB>
PELLUCID_INLINE void StartSums(Vector (&sum)[KB][PB], const Tile& t, const float* y) {
  PELLUCID_UNROLL(8)
  for (int k = 0; k < KB; k++) {
    const Vector start = InRegister(t.bias[k]);
    PELLUCID_UNROLL(8)
    for (int p = 0; p < PB; p++) sum[k][p] = start;
  }
  Hold<KB, PB>(sum);
  if (t.load) {
    PELLUCID_UNROLL(8)
    for (int k = 0; k < KB; k++) {
      PELLUCID_UNROLL(8)
      for (int p = 0; p < PB; p++) sum[k][p] += Load(y + k * t.y_channel + p * t.y_pixel);
    }
    Hold<KB, PB>(sum);
  }
}

template <int KB, int PB>
PELLUCID_INLINE void StoreSums(const Vector (&sum)[KB][PB], const Tile& t, float* y) {
  const int64_t y_channel = t.y_channel, y_pixel = t.y_pixel;
#if PELLUCID_LANES == 16
  if (t.past) {  // a vector is a line: the processor need not read what it overwrites
    PELLUCID_UNROLL(8)
    for (int k = 0; k < KB; k++) {
      PELLUCID_UNROLL(8)
      for (int p = 0; p < PB; p++) _mm512_stream_ps(y + k * y_channel + p * y_pixel, __m512(sum[k][p]));
    }
    return;
  }
#endif
  PELLUCID_UNROLL(8)
  for (int k = 0; k < KB; k++) {
    PELLUCID_UNROLL(8)
    for (int p = 0; p < PB; p++) Store(y + k * y_channel + p * y_pixel, sum[k][p]);
  }
}

// `count` register blocks side by side.
template <int KB, int PB>
void Block(Tile& t, int64_t count) {
  for (; count > 0; count--) {
    Vector sum[KB][PB];
    float* const y = t.y;
    StartSums<KB, PB>(sum, t, y);
    if (t.rows == 1 && t.taps == 1)
      AddChannels<KB, PB>(sum, t);
    else if (t.taps == 3)
      AddRows<KB, PB, 3>(sum, t);
    else if (t.taps == 2)
      AddRows<KB, PB, 2>(sum, t);
    else
      AddRows<KB, PB, 0>(sum, t);
    StoreSums<KB, PB>(sum, t, y);
    if (t.statistics) {
      AddStatistics<KB, PB>(sum, t);
      t.first = false;
    }
    t.x += PB * t.x_pixel;
    t.y += PB * t.y_pixel;
    t.next += t.C * kLine;
  }
}

typedef void (*BlockFunction)(Tile&, int64_t count);
template <int KB, int PB>
constexpr BlockFunction BlockOf() {
  if constexpr (KB <= kBlock && KB * PB <= kSums) return Block<KB, PB>;
  return nullptr;
}
#define PELLUCID_BLOCKS(k)                                                     \
  {BlockOf<k, 1>(), BlockOf<k, 2>(), BlockOf<k, 3>(), BlockOf<k, 4>(),         \
   BlockOf<k, 5>(), BlockOf<k, 6>(), BlockOf<k, 7>(), BlockOf<k, 8>()}
constexpr BlockFunction kBlocks[8][kMostPixels] = {PELLUCID_BLOCKS(1), PELLUCID_BLOCKS(2), PELLUCID_BLOCKS(3),
                                                   PELLUCID_BLOCKS(4), PELLUCID_BLOCKS(5), PELLUCID_BLOCKS(6),
                                                   PELLUCID_BLOCKS(7), PELLUCID_BLOCKS(8)};
#undef PELLUCID_BLOCKS

// The register blocks of one rectangle, whose first pixel's first tap and output are t.x and t.y: along the rows or
// along the columns, whichever are fewer.
static void Rectangle(Tile& t, int64_t height, int64_t width, int64_t x_down, int64_t x_right, int64_t y_down,
                      int64_t y_right, int64_t channels) {
  const int most = BlockPixels(int(channels));
  const bool down = Parts(height, most) * width < Parts(width, most) * height;
  const int64_t lines = down ? width : height, length = down ? height : width, blocks = Parts(length, most);
  const int64_t x_line = down ? x_right : x_down, y_line = down ? y_right : y_down;
  t.x_pixel = down ? x_down : x_right;
  t.y_pixel = down ? y_down : y_right;
  const int64_t less = length / blocks, more = length % blocks;  // `more` blocks of less + 1 pixels, the others of less
  const float* const x = t.x;
  float* const y = t.y;
  for (int64_t line = 0; line < lines; line++) {
    t.x = x + line * x_line;
    t.y = y + line * y_line;
    if (more > 0) kBlocks[channels - 1][less](t, more);
    kBlocks[channels - 1][less - 1](t, blocks - more);
  }
}

}  // namespace
}  // namespace pellucid::lanes::PELLUCID_ISA
