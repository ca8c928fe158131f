// What direct convolution's passes have in common. For every output channel k and output pixel (p, q) a pass computes
//
//   y[k, p, q] = (bias[k]) + (y[k, p, q]) + sum over c, r, s of x[c, row(p, r), column(q, s)] w[k, c, r, s],
//   row(p, r) = p step + r tap + offset, and the same for columns,
//
// over the pixels of x that exist. Forward is one such lattice of outputs; the input's gradient has one for each phase
// of the stride (direct_input_gradient.cpp). Terms are added in the order c, r, s, one multiply-add each, whatever the
// blocks below: the bits depend on neither threads nor vector width.
//
// Padding: output rows are cut into runs that reach the same taps (at the border fewer of them), columns as well. A
// rectangle of a run of rows and one of columns has a fixed range of taps, so nothing is multiplied by zero, and inside
// a register block (direct_block.h) nothing is asked.
//
// Order: tiles of outputs; blocks of output channels; phases; chunks of input channels whose weights fit the L1 cache;
// pixels. A tile's x stays in the L2 cache for all blocks of output channels. A channel is H W pixels long, often a
// power of two: pixels of many channels then fall on the same few sets of the caches and would drive one another out.
// In that case what the tile needs is first copied, densely (SourceOf).
//
// Weights: [phase][block][C][R][S][KB]. K channels lie in ceil(K / kBlock) blocks of nearly the same size.
#pragma once

#include "direct_block.h"

namespace pellucid::lanes::PELLUCID_ISA {
namespace {

// Block b of K channels: the first of its channels.
PELLUCID_INLINE int64_t BlockStart(int64_t K, int64_t b) { return K * b / Parts(K, kBlock); }

struct Axis {  // of outputs o and taps t: input o step + t tap + offset
  int64_t outputs, taps;
  int64_t step, tap, offset;
};

struct Run {  // of outputs that reach the same taps
  int64_t begin, end;
  int64_t tap_begin, tap_end;
};

struct Side {  // rows or columns: their phases, and the inputs that all of them read
  const Axis* phases;
  int64_t count;
  int64_t inputs;
};

struct Pass {
  const float* x;
  float* y;
  const float* w;
  const float* bias;
  float* statistics;
  int64_t x_channel, x_row;           // floats; pixels of a row are kLanes apart
  int64_t y_channel, y_row, y_pixel;  // between neighbours of one phase
  int64_t y_down, y_right;            // from a phase to the next
  Side rows, columns;
  int64_t C, K;
  bool accumulate;
  bool past;  // whether y is too large to be found in the caches afterwards
};

// Whether an output of so many groups and floats is more than the caches hold until it is read. With statistics every
// group is written before one is read, otherwise each may be read at once.
PELLUCID_INLINE bool IsPast(int64_t groups, int64_t floats) {
  constexpr int64_t kCached = 384 << 10;
  return groups * floats > kCached;
}

PELLUCID_INLINE Run Reach(const Axis& a, int64_t inputs, int64_t output) {
  const int64_t low = output * a.step + a.offset;
  const int64_t begin = low < 0 ? Parts(-low, a.tap) : 0;
  const int64_t end = low >= inputs ? 0 : Least(a.taps, (inputs - 1 - low) / a.tap + 1);
  return begin < end ? Run{output, output + 1, begin, end} : Run{output, output + 1, 0, 0};
}

struct Runs {
  Run* runs;
  int64_t count;
};

PELLUCID_INLINE int64_t MostRuns(const Axis& a) { return 2 * a.taps + 2; }  // each tap comes in once and goes once

static Runs FindRuns(const Axis& a, int64_t inputs, Run* runs) {
  int64_t n = 0;
  for (int64_t o = 0; o < a.outputs; o++) {
    const Run run = Reach(a, inputs, o);
    if (n > 0 && runs[n - 1].tap_begin == run.tap_begin && runs[n - 1].tap_end == run.tap_end)
      runs[n - 1].end = o + 1;
    else
      runs[n++] = run;
  }
  return {runs, n};
}

// The runs of all phases, one after the other, behind their list.
static const Runs* RunsOf(const Side& side, int scratch) {
  int64_t most = 0;
  for (int64_t i = 0; i < side.count; i++) most += MostRuns(side.phases[i]);
  const int64_t bytes = side.count * int64_t(sizeof(Runs)) + most * int64_t(sizeof(Run));
  Runs* const list = reinterpret_cast<Runs*>(pellucid_lanes_scratch(scratch, bytes / int64_t(sizeof(float))));
  Run* runs = reinterpret_cast<Run*>(list + side.count);
  for (int64_t i = 0; i < side.count; i++) {
    list[i] = FindRuns(side.phases[i], side.inputs, runs);
    runs += MostRuns(side.phases[i]);
  }
  return list;
}

PELLUCID_INLINE int64_t MostTaps(const Side& side) {
  int64_t taps = 0;
  for (int64_t i = 0; i < side.count; i++) taps = Most(taps, side.phases[i].taps);
  return taps;
}

// Every how many inputs one is needed: a single tap leaves out what the step leaps over.
PELLUCID_INLINE int64_t SampleOf(const Side& s) { return s.count == 1 && s.phases->taps == 1 ? s.phases->step : 1; }

struct Window {  // of inputs: low, low + sample, ...
  int64_t low, count, sample;
};

static Window WindowOf(const Side& side, int64_t begin, int64_t end) {
  int64_t low = side.inputs, high = -1;
  for (int64_t i = 0; i < side.count; i++) {
    const Axis& a = side.phases[i];
    const int64_t last = Least(end, a.outputs) - 1;
    if (a.taps == 0 || last < begin) continue;
    low = Least(low, begin * a.step + a.offset);
    high = Most(high, last * a.step + (a.taps - 1) * a.tap + a.offset);
  }
  const int64_t sample = SampleOf(side);
  if (low < 0) low += Parts(-low, sample) * sample;
  high = Least(high, side.inputs - 1);
  return {low, high < low ? 0 : (high - low) / sample + 1, sample};
}

struct Part {  // outputs of each phase, and what they read
  int64_t top, bottom, left, right;
  Window rows, columns;
};

static Part PartOf(const Pass& a, int64_t p, int64_t q, int64_t height, int64_t width) {
  return {p, p + height, q, q + width, WindowOf(a.rows, p, p + height), WindowOf(a.columns, q, q + width)};
}

struct Source {  // where a tile reads x
  const float* x;
  int64_t channel, row;
  Window rows, columns;
};

// Whether the channels' pixels at one place take more than half of the L2 cache's sets that they fall on.
PELLUCID_INLINE bool Crowds(const Pass& a) {
  constexpr int64_t kSets = 2048, kWays = 16;
  const int64_t lines = Most(1, a.x_channel / kLine), apart = Least(kSets, lines & -lines);
  return a.C * apart > kSets * kWays / 2;
}

// A pointwise pass reads a few pixels of one channel, then of the next: where they come from memory, they are fetched
// beforehand, channel by channel in long rows. (Inline: the compiler takes a call that only fetches for one without
// effect.)
PELLUCID_INLINE void FetchTile(const Pass& a, const Part& part, int64_t begin, int64_t end) {
  constexpr int64_t kCached = 512 << 10;  // floats of x: as many are in the L2 cache anyway
  if (MostTaps(a.rows) * MostTaps(a.columns) != 1 || a.C * a.x_channel <= kCached) return;
  const Window &rows = part.rows, &columns = part.columns;
  const float* const x = a.x + rows.low * a.x_row + columns.low * kLanes;
  for (int64_t c = begin; c < end; c++)
    for (int64_t i = 0; i < rows.count; i++)
      for (int64_t j = 0; j < columns.count; j++)
        __builtin_prefetch(x + c * a.x_channel + i * rows.sample * a.x_row + j * columns.sample * kLanes);
}

static Source SourceOf(const Pass& a, const Part& part, int64_t begin, int64_t end) {  // of input channels
  const Window &rows = part.rows, &columns = part.columns;
  if (!Crowds(a)) {
    FetchTile(a, part, begin, end);
    return {a.x + begin * a.x_channel, a.x_channel, a.x_row, {0, a.rows.inputs, 1}, {0, a.columns.inputs, 1}};
  }
  // An odd number of lines from channel to channel: they take all sets in turn.
  const int64_t row = columns.count * kLanes, channel = (Parts(rows.count * row, kLine) | 1) * kLine;
  float* const copy = pellucid_lanes_scratch(0, (end - begin) * channel);
  const float* const x = a.x + rows.low * a.x_row + columns.low * kLanes;
  const int64_t x_column = columns.sample * kLanes, x_row = rows.sample * a.x_row;
  for (int64_t c = begin; c < end; c++) {
    float* to = copy + (c - begin) * channel;
    for (int64_t i = 0; i < rows.count; i++) {
      const float* from = x + c * a.x_channel + i * x_row;
      for (int64_t j = 0; j < columns.count; j++, from += x_column, to += kLanes) Store(to, Load(from));
    }
  }
  return {copy, channel, row, rows, columns};
}

struct Cut {  // how a pass is cut: into tiles of height x width outputs of each phase
  int64_t height, width;
};

// Input channels go in chunks: a block's weights of one fit the L1 cache.
PELLUCID_INLINE int64_t ChunksOf(const Pass& a) {
  constexpr int64_t kWeights = 5 << 10;  // floats
  return Parts(a.C, Most(1, kWeights / (Most(1, MostTaps(a.rows) * MostTaps(a.columns)) * kBlock)));
}

static Cut CutOf(const Pass& a) {
  constexpr int64_t kInput = 192 << 10, kPointwise = 96 << 10;  // floats of x
  constexpr int64_t kShort = 24;                                // outputs in a row that fill whole register blocks
  const Axis &rows = a.rows.phases[0], &columns = a.columns.phases[0];
  const int64_t input = MostTaps(a.rows) * MostTaps(a.columns) == 1 ? kPointwise : kInput;
  const int64_t pixels = Most(1, input / (Parts(a.C, ChunksOf(a)) * kLanes));
  const int64_t down = rows.step / SampleOf(a.rows), right = columns.step / SampleOf(a.columns);
  const int64_t lines = pixels / Least(a.columns.inputs, columns.outputs * right);
  const int64_t halo = Most(0, (MostTaps(a.rows) - 1) * rows.tap);
  if (lines > halo) {
    const int64_t most = Most(1, (lines - halo) / down);
    return {Parts(rows.outputs, Parts(rows.outputs, most)), columns.outputs};
  }
  const int64_t width = pixels / (Most(1, MostTaps(a.rows)) * right);
  return {1, Most(kShort, width / kShort * kShort)};
}

struct Work {  // of one block of output channels, in one phase, over some input channels
  int64_t row, column;  // the phase
  int64_t block;
  int64_t c, C;  // the first input channel, and how many
  const float* w;  // of the phase
  const float* next;
};

static void RunBlock(const Pass& a, const Part& part, const Source& source, const Work& work, const Runs& down,
                     const Runs& right) {
  const Axis &rows = a.rows.phases[work.row], &columns = a.columns.phases[work.column];
  const int64_t k = BlockStart(a.K, work.block), channels = BlockStart(a.K, work.block + 1) - k;
  const Window &low = source.rows, &near = source.columns;
  const int64_t x_down = rows.step / low.sample * source.row, x_right = columns.step / near.sample * kLanes;
  const int64_t taps = rows.taps * columns.taps;
  const float* const w = work.w + (k * a.C + work.c * channels) * taps;
  const bool last = work.c + work.C == a.C;
  Tile t;
  t.next = work.next;
  t.x_channel = source.channel;
  t.x_row = rows.tap * source.row;
  t.x_tap = columns.tap * kLanes;
  t.w_channel = taps * channels;
  t.w_row = columns.taps * channels;
  t.y_channel = a.y_channel;
  t.first = part.top == 0 && part.left == 0 && work.row == 0 && work.column == 0;
  t.bias = work.c == 0 && a.bias ? a.bias + k : kNoBias;
  t.load = a.accumulate || work.c > 0;
  t.statistics = last && a.statistics ? a.statistics + k * 3 * kLanes : nullptr;
  t.past = last && a.past;
  for (int64_t i = 0; i < down.count; i++)
    for (int64_t j = 0; j < right.count; j++) {
      const Run &high = down.runs[i], &wide = right.runs[j];
      const int64_t top = Most(part.top, high.begin), bottom = Least(part.bottom, high.end);
      const int64_t left = Most(part.left, wide.begin), end = Least(part.right, wide.end);
      if (top >= bottom || left >= end) continue;
      const int64_t r = high.tap_begin, s = wide.tap_begin;
      t.rows = high.tap_end - r;
      t.taps = wide.tap_end - s;
      t.C = t.rows == 0 || t.taps == 0 ? 0 : work.C;
      const int64_t row = (top * rows.step + r * rows.tap + rows.offset - low.low) / low.sample;
      const int64_t column = (left * columns.step + s * columns.tap + columns.offset - near.low) / near.sample;
      t.x = t.C == 0 ? source.x : source.x + row * source.row + column * kLanes;
      t.w = w + (r * columns.taps + s) * channels;
      t.y = a.y + k * a.y_channel + work.row * a.y_down + work.column * a.y_right + top * a.y_row + left * a.y_pixel;
      int64_t height = bottom - top, width = end - left;
      if (x_down == width * x_right && a.y_row == width * a.y_pixel) {  // one row as long as all
        width *= height;
        height = 1;
      }
      Rectangle(t, height, width, x_down, x_right, a.y_row, a.y_pixel, channels);
    }
}

static void RunTile(const Pass& a, const Part& part, const Runs* down, const Runs* right) {
  const int64_t blocks = Parts(a.K, kBlock), phases = a.rows.count * a.columns.count, chunks = ChunksOf(a);
  for (int64_t chunk = 0; chunk < chunks; chunk++) {
    const int64_t c = a.C * chunk / chunks, end = a.C * (chunk + 1) / chunks;
    const Source source = SourceOf(a, part, c, end);
    for (int64_t block = 0; block < blocks; block++) {
      const bool more = block + 1 < blocks;
      const int64_t k = more ? BlockStart(a.K, block + 1) : 0, channels = BlockStart(a.K, more ? block + 2 : 1) - k;
      const int64_t next = k * a.C + (more ? c : end % a.C) * channels;
      const float* w = a.w;
      for (int64_t phase = 0; phase < phases; phase++) {
        const int64_t row = phase / a.columns.count, column = phase % a.columns.count;
        const int64_t taps = a.rows.phases[row].taps * a.columns.phases[column].taps;
        RunBlock(a, part, source, {row, column, block, c, end - c, w, w + next * taps}, down[row], right[column]);
        w += a.C * a.K * taps;
      }
    }
  }
}

static void RunPass(const Pass& a) {
  const int64_t height = a.rows.phases->outputs, width = a.columns.phases->outputs;  // the first phase has the most
  if (height == 0 || width == 0) return;
  const Runs *const down = RunsOf(a.rows, 1), *const right = RunsOf(a.columns, 2);
  const Cut cut = CutOf(a);
  for (int64_t p = 0; p < height; p += cut.height)
    for (int64_t q = 0; q < width; q += cut.width) RunTile(a, PartOf(a, p, q, cut.height, cut.width), down, right);
#if PELLUCID_LANES == 16
  if (a.past) _mm_sfence();
#endif
}

}  // namespace
}  // namespace pellucid::lanes::PELLUCID_ISA
