// Numbers moved, none computed: copies and slices of channels, channel shuffle, flips, padding and cropping.
//
//   y[k, p, q] = x[c(k), h(p), w(q)]                   dL/dx = the sum over all that were read from a place
//
// The columns are runs of places that lie one after the other, so that rows are copied by runs; a map whose rows and
// columns stay as they are is one run.
#include "../kernels.h"
#include "../separable.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

enum Mode { kConstant, kReflect, kReplicate, kCircular };

struct Moved {
  int32_t inputs, outputs, start, step, shuffle, mode;
};

// The place that output i reads; -1: none, a constant stands there.
int64_t PlaceOf(const Moved& axis, int64_t i) {
  const int64_t n = axis.inputs;
  if (axis.shuffle > 1) i = i % axis.shuffle * (axis.outputs / axis.shuffle) + i / axis.shuffle;
  int64_t place = axis.start + i * axis.step;
  if (axis.mode == kReflect) {
    place = place < 0 ? -place : place;
    return place >= n ? 2 * (n - 1) - place : place;
  }
  if (axis.mode == kReplicate) return Most(0, Least(place, n - 1));
  if (axis.mode == kCircular) {  // what is cut off at either end does not come round again
    const int64_t after = axis.outputs - n + axis.start;
    const int64_t first = Most(0, axis.start), period = n - Most(0, -after) - first;
    place = (place - first) % period;
    return first + (place < 0 ? place + period : place);
  }
  return place < 0 || place >= n ? -1 : place;
}

Axis Places(const Moved& axis, float*& memory) {
  Axis found = NewAxis(memory, axis.outputs, axis.outputs);
  int32_t taps = 0;
  for (int64_t i = 0; i < axis.outputs; i++) {
    const int64_t place = PlaceOf(axis, i);
    if (place >= 0) {
      found.tap[taps] = 0;
      found.weight[taps] = 1.0f;
      found.place[taps++] = int32_t(place);
    }
    found.begin[i + 1] = taps;
  }
  return found;
}

// `length` outputs from `to` on read the places from `from` on, or a constant where `from` is -1.
struct MovedRun {
  int32_t to, from, length;
};

int32_t RunsOf(const Axis& columns, MovedRun* runs) {
  int32_t count = 0;
  for (int32_t q = 0; q < columns.outputs; q++) {
    const bool reads = columns.begin[q] < columns.begin[q + 1];
    const int32_t place = reads ? columns.place[columns.begin[q]] : -1;
    MovedRun* last = runs + count - 1;
    if (count > 0 && (reads ? last->from >= 0 && place == last->from + last->length : last->from < 0))
      last->length++;
    else
      runs[count++] = MovedRun{q, place, 1};
  }
  return count;
}

PELLUCID_INLINE void Copy(float* to, const float* from, int64_t vectors) {
  for (int64_t i = 0; i < vectors; i++) Store(to + i * kLanes, Load(from + i * kLanes));
}

PELLUCID_INLINE void Add(float* to, const float* from, int64_t vectors) {
  for (int64_t i = 0; i < vectors; i++) Store(to + i * kLanes, Load(to + i * kLanes) + Load(from + i * kLanes));
}

PELLUCID_INLINE void FillWith(float* to, float number, int64_t vectors) {
  for (int64_t i = 0; i < vectors; i++) Store(to + i * kLanes, Splat(number));
}

// The axes of a move, prepared: maps that keep their rows and columns have one row.
struct Prepared {
  Axis channels, rows, columns;
  MovedRun* runs;
  int32_t run_count;
  int64_t H, W, P, Q;
};

bool Stays(int32_t inputs, int32_t outputs, int32_t start, int32_t step) {
  return inputs == outputs && start == 0 && step == 1;
}

Prepared Prepare(const MoveArguments& a) {
  const bool whole = Stays(a.H, a.P, a.start_h, a.step_h) && Stays(a.W, a.Q, a.start_w, a.step_w);
  Prepared m{};
  m.H = whole ? 1 : a.H;
  m.P = whole ? 1 : a.P;
  m.W = whole ? int64_t(a.H) * a.W : a.W;
  m.Q = whole ? m.W : a.Q;
  const int64_t q = whole ? 1 : a.Q;  // a whole map is one column of H W vectors
  float* memory = pellucid_lanes_scratch(0, AxisFloats(a.K, a.K) + AxisFloats(a.C, a.K) + AxisFloats(m.P, m.P) +
                                                AxisFloats(m.H, m.P) + AxisFloats(q, q) + 3 * q);
  m.channels = Places(Moved{a.C, a.K, a.start_c, a.step_c, a.shuffle, kConstant}, memory);
  m.rows = Places(whole ? Moved{1, 1, 0, 1, 0, kConstant} : Moved{a.H, a.P, a.start_h, a.step_h, 0, a.mode}, memory);
  m.columns = Places(whole ? Moved{1, 1, 0, 1, 0, kConstant} : Moved{a.W, a.Q, a.start_w, a.step_w, 0, a.mode}, memory);
  m.runs = reinterpret_cast<MovedRun*>(memory);
  m.run_count = RunsOf(m.columns, m.runs);
  memory += 3 * q;
  if (whole) m.runs[0].length = int32_t(m.W);
  return m;
}

void MoveRow(float* y, const float* x, const Prepared& m, float value) {
  for (int32_t i = 0; i < m.run_count; i++) {
    const MovedRun& run = m.runs[i];
    float* to = y + int64_t(run.to) * kLanes;
    if (run.from < 0)
      FillWith(to, value, run.length);
    else
      Copy(to, x + int64_t(run.from) * kLanes, run.length);
  }
}

void AddRowBack(float* x, const float* y, const Prepared& m, bool write) {
  if (write && m.run_count == 1 && m.runs[0].from == 0 && m.runs[0].length == m.W) {
    Copy(x, y + int64_t(m.runs[0].to) * kLanes, m.W);
    return;
  }
  if (write) memset(x, 0, size_t(m.W) * kLanes * 4);
  for (int32_t i = 0; i < m.run_count; i++) {
    const MovedRun& run = m.runs[i];
    if (run.from >= 0) Add(x + int64_t(run.from) * kLanes, y + int64_t(run.to) * kLanes, run.length);
  }
}

// The place of an axis that output i reads, -1 for none.
PELLUCID_INLINE int64_t Read(const Axis& axis, int64_t i) {
  return axis.begin[i] < axis.begin[i + 1] ? axis.place[axis.begin[i]] : -1;
}

}  // namespace

// By groups.
void MoveForward(const void* arguments, const PellucidUnits* range) {
  const MoveArguments& a = *static_cast<const MoveArguments*>(arguments);
  const Prepared m = Prepare(a);
  for (int64_t g = range->begin; g < range->end; g++)
    for (int64_t k = 0; k < a.K; k++)
      for (int64_t p = 0; p < m.P; p++) {
        float* y = a.y + g * a.y_group + (k * m.P + p) * m.Q * kLanes;
        const int64_t c = Read(m.channels, k), h = Read(m.rows, p);
        if (c < 0 || h < 0)
          FillWith(y, a.value, m.Q);
        else
          MoveRow(y, a.x + g * a.x_group + (c * m.H + h) * m.W * kLanes, m, a.value);
      }
}

// By groups: reads dL/dy in y, writes or adds dL/dx in x.
void MoveBackward(const void* arguments, const PellucidUnits* range) {
  const MoveArguments& a = *static_cast<const MoveArguments*>(arguments);
  const Prepared m = Prepare(a);
  float* memory = reinterpret_cast<float*>(m.runs + m.columns.outputs);
  const Axis channels = Transposed(m.channels, a.C, memory), rows = Transposed(m.rows, m.H, memory);
  for (int64_t g = range->begin; g < range->end; g++)
    for (int64_t c = 0; c < a.C; c++)
      for (int64_t h = 0; h < m.H; h++) {
        float* x = a.x + g * a.x_group + (c * m.H + h) * m.W * kLanes;
        bool write = !a.accumulate;
        for (int32_t i = channels.begin[c]; i < channels.begin[c + 1]; i++)
          for (int32_t j = rows.begin[h]; j < rows.begin[h + 1]; j++) {
            const int64_t row = int64_t(channels.place[i]) * m.P + rows.place[j];
            AddRowBack(x, a.y + g * a.y_group + row * m.Q * kLanes, m, write);
            write = false;
          }
        if (write) memset(x, 0, size_t(m.W) * kLanes * 4);
      }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
