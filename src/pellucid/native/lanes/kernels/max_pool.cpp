// Max pooling, also adaptive. NaN wins, else the first of the largest in row order, as in PyTorch.
//
//   y[c, p, q] = max over taps (r, s) of x[c, p stride - pad + r dilation, ...]        dL/dx goes to the winner's place
//
// Forward takes the columns first: each input row's maxima over s, kept in a ring for the windows that share the row,
// then the maximum over r. The first in row order is the first r whose row has the maximum, and in it the first s.
// The winner is stored as one byte a number, a quarter of the map it came from or less. Recomputing it from x would
// read all of x again from memory: bytes are what this pass waits for. Backward gathers, so that each dL/dx is complete
// before the next row begins.
#include "../kernels.h"
#include "../windows.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

typedef uint8_t Bytes __attribute__((vector_size(PELLUCID_LANES), aligned(PELLUCID_LANES), may_alias));

struct Best {
  Vector value;
  Integers tap;
};

PELLUCID_INLINE void Challenge(Best& best, Vector value, Integers tap) {
  const Integers wins = (value > best.value) | (value != value);
  best.value = Select(wins, value, best.value);
  best.tap = wins ? tap : best.tap;
}

PELLUCID_INLINE Integers LoadIntegers(const float* p) { return *reinterpret_cast<const Integers*>(p); }
PELLUCID_INLINE void StoreIntegers(float* p, Integers v) { *reinterpret_cast<Integers*>(p) = v; }

PELLUCID_INLINE void StoreWinner(uint8_t* winners, int64_t index, Integers tap, bool wide) {
  if (wide)
    StoreIntegers(reinterpret_cast<float*>(winners) + index * kLanes, tap);
  else
    *reinterpret_cast<Bytes*>(winners + index * kLanes) = __builtin_convertvector(tap, Bytes);
}

// Winners of one output row as integers: the row itself if they are so wide, else spread out in `spread`.
const float* WinnersOfRow(const uint8_t* winners, int64_t row, int64_t numbers, bool wide, float* spread) {
  if (wide) return reinterpret_cast<const float*>(winners) + row * numbers;
  int32_t* to = reinterpret_cast<int32_t*>(spread);
  winners += row * numbers;
  for (int64_t i = 0; i < numbers; i++) to[i] = winners[i];
  return spread;
}

// The maxima of one input row over the columns' windows, and their taps s: values and taps [Q][L].
template <int n, bool keep>
void RowMaxima(const float* row, const Axis& columns, int32_t first, int32_t last, float* values, float* taps) {
  const int32_t* place = columns.place + columns.begin[first];
  const int32_t* tap = columns.tap + columns.begin[first];
  for (int32_t q = first; q < last; q++) {
    const int32_t count = n ? n : columns.begin[q + 1] - columns.begin[q];
    Best best{Splat(-__builtin_inff()), Integers{} - 1};
    if (count > 0) best = Best{Load(row + place[0] * kLanes), Integers{} + tap[0]};
    if (n) {
      PELLUCID_UNROLL(4)
      for (int i = 1; i < n; i++) Challenge(best, Load(row + place[i] * kLanes), Integers{} + tap[i]);
    } else {
      for (int32_t i = 1; i < count; i++) Challenge(best, Load(row + place[i] * kLanes), Integers{} + tap[i]);
    }
    Store(values + q * kLanes, best.value);
    if (keep) StoreIntegers(taps + q * kLanes, best.tap);
    place += count;
    tap += count;
  }
}

template <bool keep>
void RowMaximaOf(const float* row, const Axis& columns, float* values, float* taps) {
  for (int32_t first = 0, last; first < columns.outputs; first = last) {
    const int32_t count = columns.begin[first + 1] - columns.begin[first];
    for (last = first + 1; last < columns.outputs; last++)
      if (columns.begin[last + 1] - columns.begin[last] != count) break;
    if (count == 2) RowMaxima<2, keep>(row, columns, first, last, values, taps);
    else if (count == 3) RowMaxima<3, keep>(row, columns, first, last, values, taps);
    else RowMaxima<0, keep>(row, columns, first, last, values, taps);
  }
}

// The rows that windows share, by their place modulo `depth`: values and taps of each.
struct Ring {
  float* memory;
  int32_t* holds;  // [depth], which row of the map
  int32_t* from;   // [R], where the rows of one window stand in `memory`
  int32_t depth;
  int64_t width;  // floats of a row
};

int32_t Span(const Axis& rows) {  // the places from a window's first to its last
  int32_t span = 1;
  for (int32_t p = 0; p < rows.outputs; p++)
    if (rows.begin[p] < rows.begin[p + 1])
      span = int32_t(Most(span, rows.place[rows.begin[p + 1] - 1] - rows.place[rows.begin[p]] + 1));
  return span;
}

// The maxima of one output row over its n rows of the ring, n = 0: `count`. rows[t], taps[t]: a row and its first tap.
template <int n, bool keep>
void ColumnMaxima(const Ring& ring, const int32_t* rows, const int32_t* taps, int32_t count, int32_t S, float* y,
                  uint8_t* winners, bool wide) {
  if (n) count = n;
  for (int64_t q = 0; q * kLanes < ring.width; q++) {
    Best best{Splat(-__builtin_inff()), Integers{} - 1};
    PELLUCID_UNROLL(4)
    for (int32_t t = 0; t < count; t++) {
      const float* from = ring.memory + rows[t] + q * kLanes;
      Integers tap{};
      if (keep) tap = LoadIntegers(from + ring.width) + taps[t] * S;  // of a column that no place reads: anything
      if (t == 0) best = Best{Load(from), tap};
      else Challenge(best, Load(from), tap);
    }
    Store(y + q * kLanes, best.value);
    if (keep) StoreWinner(winners, q, best.tap, wide);
  }
}

template <bool keep>
void MaxPoolChannel(const PoolingArguments& a, const float* x, float* y, uint8_t* winners, const Axis& rows,
                    const Axis& columns, const Ring& ring) {
  for (int32_t i = 0; i < ring.depth; i++) ring.holds[i] = -1;
  for (int32_t p = 0; p < a.P; p++, y += ring.width) {
    const int32_t begin = rows.begin[p], count = rows.begin[p + 1] - begin;
    for (int32_t t = 0; t < count; t++) {
      const int32_t h = rows.place[begin + t], slot = h % ring.depth;
      ring.from[t] = int32_t(slot * 2 * ring.width);
      if (ring.holds[slot] == h) continue;
      ring.holds[slot] = h;
      float* values = ring.memory + ring.from[t];
      RowMaximaOf<keep>(x + int64_t(h) * a.W * kLanes, columns, values, values + ring.width);
    }
    const int32_t* taps = rows.tap + begin;
    if (count == 2) ColumnMaxima<2, keep>(ring, ring.from, taps, count, a.S, y, winners, a.wide_winners);
    else if (count == 3) ColumnMaxima<3, keep>(ring, ring.from, taps, count, a.S, y, winners, a.wide_winners);
    else ColumnMaxima<0, keep>(ring, ring.from, taps, count, a.S, y, winners, a.wide_winners);
    if (keep) winners += a.wide_winners ? ring.width * 4 : ring.width;
  }
}

// Windows of 2 x 2 that tile the map need no ring.
template <bool keep>
void MaxPool2x2(const PoolingArguments& a, const float* x, float* y, uint8_t* winners) {
  const int64_t row = int64_t(a.W) * kLanes;
  for (int64_t p = 0; p < a.P; p++)
    for (int64_t q = 0; q < a.Q; q++) {
      const float* in = x + 2 * p * row + 2 * q * kLanes;
      Best best{Load(in), Integers{}};
      Challenge(best, Load(in + kLanes), Integers{} + 1);
      Challenge(best, Load(in + row), Integers{} + 2);
      Challenge(best, Load(in + row + kLanes), Integers{} + 3);
      Store(y + (p * a.Q + q) * kLanes, best.value);
      if (keep) StoreWinner(winners, p * a.Q + q, best.tap, false);
    }
}

bool Tiles2x2(const PoolingArguments& a) {
  return a.R == 2 && a.S == 2 && a.stride_h == 2 && a.stride_w == 2 && !a.pad_h && !a.pad_w && a.dilation_h == 1 &&
         a.dilation_w == 1 && !a.adaptive && 2 * a.P <= a.H && 2 * a.Q <= a.W && !a.wide_winners;
}

// dL/dx of the whole map, odd last row and column too: no window reads them.
template <bool add>
void MaxPool2x2Back(const PoolingArguments& a, float* x, const float* y, const uint8_t* winners, float* spread) {
  const int64_t row = int64_t(a.W) * kLanes;
  for (int64_t p = 0; p < a.P; p++) {
    WinnersOfRow(winners, p, int64_t(a.Q) * kLanes, false, spread);
    float* out = x + 2 * p * row;
    for (int64_t q = 0; q < a.Q; q++, out += 2 * kLanes) {
      const Vector gradient = Load(y + (p * a.Q + q) * kLanes);
      const Integers winner = LoadIntegers(spread + q * kLanes);
      PELLUCID_UNROLL(4)
      for (int t = 0; t < 4; t++) {
        float* to = out + (t / 2) * row + (t % 2) * kLanes;
        const Vector part = Select(winner == t, gradient, Vector{});
        Store(to, add ? Load(to) + part : part);
      }
    }
    if (!add && 2 * a.Q < a.W) {
      Store(x + (2 * p + 1) * row - kLanes, Vector{});
      Store(x + (2 * p + 2) * row - kLanes, Vector{});
    }
  }
  if (!add) memset(x + 2 * a.P * row, 0, size_t((a.H - 2 * a.P) * row) * 4);
}

// Columns first, first + step, ... of the input whose readers are alike: the same taps of output columns that go up by
// one.
struct Alike {
  int32_t first, length;
  int32_t at;  // where the taps of the first stand in the axis
  int32_t taps;
};

// Windows at stride s have s kinds of columns in the middle of a map.
int32_t AlikeColumns(const Axis& columns, int32_t step, Alike* runs) {
  int32_t count = 0;
  for (int32_t phase = 0; phase < step; phase++)
    for (int32_t w = phase, fresh = 1; w < columns.outputs; w += step) {
      const int32_t at = columns.begin[w], taps = columns.begin[w + 1] - at;
      if (!fresh) {
        Alike& run = runs[count - 1];
        bool same = taps == run.taps;
        for (int32_t t = 0; same && t < taps; t++)
          same = columns.tap[at + t] == columns.tap[run.at + t] &&
                 columns.place[at + t] == columns.place[run.at + t] + run.length;
        if (same) {
          run.length++;
          continue;
        }
      }
      runs[count++] = Alike{w, 1, at, taps};
      fresh = 0;
    }
  return count;
}

// An output row that reads an input row: its gradient, its winners, and the input row's first tap in its windows.
struct RowReader {
  const float* gradient;
  const float* winners;
  int32_t first_tap;
};

// What one output row gives to alike columns of an input row, n taps each; n = 0: any number.
template <int n, bool add>
void GatherAlike(float* x, const RowReader& row, const Axis& columns, const Alike& run, int32_t step) {
  const int32_t taps = n ? n : run.taps;
  const int32_t* tap = columns.tap + run.at;
  const float *gradient[n + 1], *winners[n + 1];
  Integers wanted[n + 1];
  for (int32_t t = 0; t < n; t++) {
    gradient[t] = row.gradient + columns.place[run.at + t] * kLanes;
    winners[t] = row.winners + columns.place[run.at + t] * kLanes;
    wanted[t] = Integers{} + (row.first_tap + tap[t]);
  }
  x += int64_t(run.first) * kLanes;
  for (int64_t i = 0; i < run.length; i++, x += step * kLanes) {
    Vector sum = add ? Load(x) : Vector{};
    PELLUCID_UNROLL(4)
    for (int32_t t = 0; t < taps; t++) {
      const int64_t at = n ? 0 : (columns.place[run.at + t] + i) * kLanes;
      const float* from = n ? gradient[t] + i * kLanes : row.gradient + at;
      const float* winner = n ? winners[t] + i * kLanes : row.winners + at;
      const Integers tap_of_place = n ? wanted[t] : Integers{} + (row.first_tap + tap[t]);
      sum = LoadIntegers(winner) == tap_of_place ? sum + Load(from) : sum;
    }
    Store(x, sum);
  }
}

template <bool add>
void GatherRow(float* x, const RowReader& row, const Axis& columns, const Alike* runs, int32_t count, int32_t step) {
  for (int32_t i = 0; i < count; i++) {
    if (runs[i].taps == 1) GatherAlike<1, add>(x, row, columns, runs[i], step);
    else if (runs[i].taps == 2) GatherAlike<2, add>(x, row, columns, runs[i], step);
    else if (runs[i].taps == 3) GatherAlike<3, add>(x, row, columns, runs[i], step);
    else if (!add || runs[i].taps) GatherAlike<0, add>(x, row, columns, runs[i], step);
  }
}

// One channel. The ring holds the winners of output rows that several input rows have in their windows.
void MaxPoolBack(const PoolingArguments& a, float* x, const float* y, const uint8_t* winners, const Axis& rows,
                 const Axis& columns, const Ring& ring, const Alike* runs, int32_t count) {
  const int32_t step = a.adaptive ? 1 : a.stride_w;
  for (int32_t i = 0; i < ring.depth; i++) ring.holds[i] = -1;
  for (int32_t h = 0; h < a.H; h++, x += int64_t(a.W) * kLanes) {
    bool add = a.accumulate;
    for (int32_t i = rows.begin[h]; i < rows.begin[h + 1]; i++, add = true) {
      const int32_t p = rows.place[i], slot = p % ring.depth;
      float* spread = ring.memory + slot * ring.width;
      RowReader row{y + p * ring.width, spread, rows.tap[i] * a.S};
      if (a.wide_winners || ring.holds[slot] != p)
        row.winners = WinnersOfRow(winners, p, ring.width, a.wide_winners, spread);
      ring.holds[slot] = p;
      if (add) GatherRow<true>(x, row, columns, runs, count, step);
      else GatherRow<false>(x, row, columns, runs, count, step);
    }
    if (!add) memset(x, 0, size_t(a.W) * kLanes * 4);
  }
}

}  // namespace

// By groups. Writes `winners` too if it is not null.
void MaxPoolForward(const void* arguments, const PellucidUnits* range) {
  const PoolingArguments& a = *static_cast<const PoolingArguments*>(arguments);
  const int64_t x_channel = int64_t(a.H) * a.W * kLanes, y_channel = int64_t(a.P) * a.Q * kLanes;
  const int64_t winner_channel = a.wide_winners ? y_channel * 4 : y_channel;
  float* memory = pellucid_lanes_scratch(0, WindowsFloats(RowWindows(a)) + WindowsFloats(ColumnWindows(a)));
  const Axis rows = Windows(a, RowWindows(a), memory), columns = Windows(a, ColumnWindows(a), memory);
  const int32_t depth = Span(rows);
  Ring ring{nullptr, nullptr, nullptr, depth, int64_t(a.Q) * kLanes};
  ring.memory = pellucid_lanes_scratch(1, depth * (2 * ring.width + 1) + a.R);
  ring.holds = reinterpret_cast<int32_t*>(ring.memory + depth * 2 * ring.width);
  ring.from = ring.holds + depth;
  for (int64_t g = range->begin; g < range->end; g++)
    for (int64_t c = 0; c < a.C; c++) {
      const float* x = a.x + g * a.x_group + c * x_channel;
      float* y = a.y + g * a.y_group + c * y_channel;
      if (a.winners == nullptr) {
        if (Tiles2x2(a)) MaxPool2x2<false>(a, x, y, nullptr);
        else MaxPoolChannel<false>(a, x, y, nullptr, rows, columns, ring);
      } else {
        uint8_t* winners = a.winners + (g * a.C + c) * winner_channel;
        if (Tiles2x2(a)) MaxPool2x2<true>(a, x, y, winners);
        else MaxPoolChannel<true>(a, x, y, winners, rows, columns, ring);
      }
    }
}

// By groups: reads dL/dy in y and the winners, writes or adds dL/dx in x.
void MaxPoolBackward(const void* arguments, const PellucidUnits* range) {
  const PoolingArguments& a = *static_cast<const PoolingArguments*>(arguments);
  const int64_t x_channel = int64_t(a.H) * a.W * kLanes, y_channel = int64_t(a.P) * a.Q * kLanes;
  const int64_t winner_channel = a.wide_winners ? y_channel * 4 : y_channel;
  float* memory = pellucid_lanes_scratch(0, WindowsFloats(RowWindows(a)) + WindowsFloats(ColumnWindows(a)));
  const Axis rows = Transposed(Windows(a, RowWindows(a), memory), a.H, memory);
  const Axis columns = Transposed(Windows(a, ColumnWindows(a), memory), a.W, memory);
  const int32_t depth = Span(rows);
  Ring ring{nullptr, nullptr, nullptr, depth, int64_t(a.Q) * kLanes};
  ring.memory = pellucid_lanes_scratch(1, depth * (ring.width + 1));
  ring.holds = reinterpret_cast<int32_t*>(ring.memory + depth * ring.width);
  Alike* runs = reinterpret_cast<Alike*>(pellucid_lanes_scratch(2, 4 * int64_t(a.W)));
  const int32_t count = AlikeColumns(columns, a.adaptive ? 1 : a.stride_w, runs);
  for (int64_t g = range->begin; g < range->end; g++)
    for (int64_t c = 0; c < a.C; c++) {
      float* x = a.x + g * a.x_group + c * x_channel;
      const float* y = a.y + g * a.y_group + c * y_channel;
      const uint8_t* winners = a.winners + (g * a.C + c) * winner_channel;
      if (!Tiles2x2(a)) MaxPoolBack(a, x, y, winners, rows, columns, ring, runs, count);
      else if (a.accumulate) MaxPool2x2Back<true>(a, x, y, winners, ring.memory);
      else MaxPool2x2Back<false>(a, x, y, winners, ring.memory);
    }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
