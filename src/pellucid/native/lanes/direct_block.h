// What direct convolution's passes have in common. For every output channel k and output pixel (p, q) a pass computes
//
//   y[k, p, q] = (bias[k]) + (y[k, p, q]) + sum over c, r, s of x[c, row(p, r), column(q, s)] w[k, c, r, s],
//   row(p, r) = p step + r tap + offset, and the same for columns,
//
// over the pixels of x that exist. Forward is one such pass; the input's gradient is one for each phase of the stride
// (direct_input_gradient.cpp). Terms are added in the order c, r, s, one multiply-add each, whatever the blocks below:
// the bits depend on neither threads nor vector width.
//
// Padding: output rows are cut into runs that reach the same taps (at the border fewer of them), columns as well. A
// rectangle of a run of rows and one of columns has a fixed range of taps, so nothing is multiplied by zero, no copy
// with a border is made, and inside a register block nothing is asked.
//
// Register block: KB channels x PB pixels, neighbours in a row or in a column: KB PB <= 24 sums (12 with 16
// registers). A tap costs KB + PB loads for KB PB multiply-adds. Order: tiles of pixels whose input fits the L2 cache;
// chunks of input channels whose weights fit the L1 cache; blocks of output channels; pixels.
//
// Weights: [block][C][R][S][KB]. K channels lie in ceil(K / kBlock) blocks of nearly the same size.
#pragma once

#include "kernels.h"

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

// Block b of K channels: the first of its channels.
PELLUCID_INLINE int64_t BlockStart(int64_t K, int64_t b) { return K * b / Parts(K, kBlock); }

constexpr float kNoBias[kBlock] = {};

struct Axis {  // of outputs o and taps t: input o step + t tap + offset
  int64_t outputs, inputs, taps;
  int64_t step, tap, offset;
};

struct Run {  // of outputs that reach the same taps
  int64_t begin, end;
  int64_t tap_begin, tap_end;
};

struct Pass {
  const float* x;
  float* y;
  const float* w;
  const float* bias;
  float* statistics;
  int64_t x_channel, x_row;  // floats; pixels of a row are kLanes apart
  int64_t y_channel, y_row, y_pixel;
  Axis rows, columns;
  int64_t C, K;
  bool accumulate;
  bool first;  // whether the statistics begin here
};

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
    const int64_t y_channel = t.y_channel, y_pixel = t.y_pixel;
    PELLUCID_UNROLL(8)
    for (int k = 0; k < KB; k++) {
      PELLUCID_UNROLL(8)
      for (int p = 0; p < PB; p++) Store(y + k * y_channel + p * y_pixel, sum[k][p]);
    }
    if (t.statistics) {
      AddStatistics<KB, PB>(sum, t);
      t.first = false;
    }
    t.x += PB * t.x_pixel;
    t.y += PB * y_pixel;
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

PELLUCID_INLINE Run Reach(const Axis& a, int64_t output) {
  const int64_t low = output * a.step + a.offset;
  const int64_t begin = low < 0 ? Parts(-low, a.tap) : 0;
  const int64_t end = low >= a.inputs ? 0 : Least(a.taps, (a.inputs - 1 - low) / a.tap + 1);
  return begin < end ? Run{output, output + 1, begin, end} : Run{output, output + 1, 0, 0};
}

PELLUCID_INLINE int64_t MostRuns(const Axis& a) { return 2 * a.taps + 2; }  // each tap comes in once and goes once

static int64_t FindRuns(const Axis& a, Run* runs) {
  int64_t n = 0;
  for (int64_t o = 0; o < a.outputs; o++) {
    const Run run = Reach(a, o);
    if (n > 0 && runs[n - 1].tap_begin == run.tap_begin && runs[n - 1].tap_end == run.tap_end)
      runs[n - 1].end = o + 1;
    else
      runs[n++] = run;
  }
  return n;
}

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

struct Cut {  // how a pass is cut: into tiles of height x width outputs, and chunks of input channels
  int64_t height, width, chunks;
};

static Cut CutOf(const Pass& a) {
  constexpr int64_t kWeights = 5 << 10, kInput = 192 << 10;  // floats, of L1 and of L2
  const int64_t taps = Most(1, a.rows.taps * a.columns.taps);
  const int64_t chunks = Parts(a.C, Most(1, kWeights / (taps * kBlock)));
  const int64_t pixels = kInput / (Parts(a.C, chunks) * kLanes);
  const int64_t rows = pixels / Least(a.columns.inputs, a.columns.outputs * a.columns.step);
  const int64_t halo = (a.rows.taps - 1) * a.rows.tap;
  if (rows > halo) return {Most(1, (rows - halo) / a.rows.step), a.columns.outputs, chunks};
  return {1, Most(24, pixels / (Most(1, a.rows.taps) * a.columns.step)), chunks};
}

// A pointwise pass over neighbouring pixels is one over a single row.
PELLUCID_INLINE bool Flat(const Axis& a) {
  return a.taps == 1 && a.step == 1 && a.offset == 0 && a.outputs == a.inputs;
}

struct Runs {  // of rows and of columns
  const Run *down, *right;
  int64_t down_count, right_count;
};

struct Part {  // of a pass: a tile of outputs from (p, q) on, a chunk of input channels, a block of output channels
  int64_t p, q, chunk, block;
};

// Where the weights of a block begin, for a chunk of input channels.
PELLUCID_INLINE const float* WeightsOf(const Pass& a, const Cut& cut, int64_t chunk, int64_t block) {
  const int64_t k = BlockStart(a.K, block), channels = BlockStart(a.K, block + 1) - k;
  return a.w + (k * a.C + a.C * chunk / cut.chunks * channels) * a.rows.taps * a.columns.taps;
}

static void RunPart(const Pass& a, const Cut& cut, const Runs& runs, const Part& part) {
  const int64_t R = a.rows.taps, S = a.columns.taps, blocks = Parts(a.K, kBlock);
  const int64_t c = a.C * part.chunk / cut.chunks, k = BlockStart(a.K, part.block);
  const int64_t channels = BlockStart(a.K, part.block + 1) - k;
  const bool last_chunk = part.chunk + 1 == cut.chunks, last_block = part.block + 1 == blocks;
  const float* const w = WeightsOf(a, cut, part.chunk, part.block);
  Tile t;
  const int64_t next_chunk = !last_block ? part.chunk : last_chunk ? 0 : part.chunk + 1;
  t.next = WeightsOf(a, cut, next_chunk, last_block ? 0 : part.block + 1);
  t.bias = part.chunk == 0 && a.bias ? a.bias + k : kNoBias;
  t.statistics = last_chunk && a.statistics ? a.statistics + k * 3 * kLanes : nullptr;
  t.load = a.accumulate || part.chunk > 0;
  t.first = a.first && part.p == 0 && part.q == 0;
  t.x_channel = a.x_channel;
  t.x_row = a.rows.tap * a.x_row;
  t.x_tap = a.columns.tap * kLanes;
  t.w_channel = R * S * channels;
  t.w_row = S * channels;
  t.y_channel = a.y_channel;
  for (int64_t i = 0; i < runs.down_count; i++)
    for (int64_t j = 0; j < runs.right_count; j++) {
      const Run &down = runs.down[i], &right = runs.right[j];
      const int64_t top = Most(part.p, down.begin), bottom = Least(part.p + cut.height, down.end);
      const int64_t left = Most(part.q, right.begin), end = Least(part.q + cut.width, right.end);
      if (top >= bottom || left >= end) continue;
      const int64_t r = down.tap_begin, s = right.tap_begin;
      t.rows = down.tap_end - r;
      t.taps = right.tap_end - s;
      t.C = t.rows == 0 || t.taps == 0 ? 0 : a.C * (part.chunk + 1) / cut.chunks - c;
      t.x = a.x + c * a.x_channel + (top * a.rows.step + r * a.rows.tap + a.rows.offset) * a.x_row +
            (left * a.columns.step + s * a.columns.tap + a.columns.offset) * kLanes;
      t.w = w + (r * S + s) * channels;
      t.y = a.y + k * a.y_channel + top * a.y_row + left * a.y_pixel;
      const int64_t x_down = a.rows.step * a.x_row, x_right = a.columns.step * kLanes;
      Rectangle(t, bottom - top, end - left, x_down, x_right, a.y_row, a.y_pixel, channels);
    }
}

// A pointwise pass reads a few pixels of one channel, then of the next: where they come from memory, they are fetched
// beforehand, channel by channel in long rows. (Inline: the compiler takes a call that only fetches for one without
// effect.)
PELLUCID_INLINE void FetchTile(const Pass& a, const Cut& cut, int64_t p, int64_t q, int64_t chunk) {
  constexpr int64_t kCached = 512 << 10;  // floats of x: as many are in the L2 cache anyway
  if (a.rows.taps * a.columns.taps != 1 || a.C * a.x_channel <= kCached) return;
  const Axis &rows = a.rows, &columns = a.columns;
  const int64_t top = Most(0, p * rows.step + rows.offset), left = Most(0, q * columns.step + columns.offset);
  const int64_t bottom = Least(rows.inputs, (p + cut.height - 1) * rows.step + rows.offset + 1);
  const int64_t right = Least(columns.inputs, (q + cut.width - 1) * columns.step + columns.offset + 1);
  for (int64_t c = a.C * chunk / cut.chunks; c < a.C * (chunk + 1) / cut.chunks; c++)
    for (int64_t row = top; row < bottom; row += rows.step)
      for (int64_t column = left; column < right; column += columns.step)
        __builtin_prefetch(a.x + c * a.x_channel + row * a.x_row + column * kLanes);
}

static void RunPass(Pass a) {
  if (a.rows.outputs == 0 || a.columns.outputs == 0) return;
  if (Flat(a.rows) && Flat(a.columns) && a.y_row == a.columns.outputs * a.y_pixel) {
    a.columns.outputs = a.columns.inputs = a.rows.outputs * a.columns.outputs;
    a.rows.outputs = a.rows.inputs = 1;
  }
  Run* const down = reinterpret_cast<Run*>(
      pellucid_lanes_scratch(0, (MostRuns(a.rows) + MostRuns(a.columns)) * int64_t(sizeof(Run) / sizeof(float))));
  Run* const right = down + MostRuns(a.rows);
  const Runs runs{down, right, FindRuns(a.rows, down), FindRuns(a.columns, right)};
  const Cut cut = CutOf(a);
  const int64_t blocks = Parts(a.K, kBlock);
  for (int64_t p = 0; p < a.rows.outputs; p += cut.height)
    for (int64_t q = 0; q < a.columns.outputs; q += cut.width)
      for (int64_t chunk = 0; chunk < cut.chunks; chunk++) {
        FetchTile(a, cut, p, q, chunk);
        for (int64_t block = 0; block < blocks; block++) RunPart(a, cut, runs, {p, q, chunk, block});
      }
}

}  // namespace
}  // namespace pellucid::lanes::PELLUCID_ISA
