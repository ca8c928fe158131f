// Maps whose places are means of other maps' places, one axis after the other: average pooling, resizing, and the ways
// back of both.
//
//   y[p, q] = sum over i in rows of p: a_i  sum over j in columns of q: b_j  x[h_i, w_j]
//
// An axis is a sparse matrix, so that its transpose is the way back. Rows first, into one line of W vectors: a window
// of R x S at stride 1 then costs R + S loads, not R S.
#pragma once

#include "scratch.h"
#include "vector.h"

namespace pellucid::lanes::PELLUCID_ISA {

// For each output the places that it reads, rising: taps begin[i] to begin[i + 1].
struct Axis {
  int32_t outputs;
  int32_t* begin;   // [outputs + 1]
  int32_t* place;   // of the input
  int32_t* tap;     // which tap of the window it is
  float* weight;
};

PELLUCID_INLINE int64_t AxisFloats(int64_t outputs, int64_t taps) { return outputs + 1 + 3 * taps; }

// An axis of no taps yet in memory of AxisFloats(outputs, taps) floats, which `memory` moves beyond.
static inline Axis NewAxis(float*& memory, int64_t outputs, int64_t taps) {
  int32_t* integers = reinterpret_cast<int32_t*>(memory);
  Axis axis{int32_t(outputs), integers, integers + outputs + 1, integers + outputs + 1 + taps,
            memory + outputs + 1 + 2 * taps};
  axis.begin[0] = 0;
  memory += AxisFloats(outputs, taps);
  return axis;
}

// The way back: which outputs read each of `inputs` places.
static inline Axis Transposed(const Axis& axis, int64_t inputs, float*& memory) {
  const int32_t taps = axis.begin[axis.outputs];
  Axis back = NewAxis(memory, inputs, taps);
  for (int64_t i = 0; i <= inputs; i++) back.begin[i] = 0;
  for (int32_t t = 0; t < taps; t++) back.begin[axis.place[t] + 1]++;
  for (int64_t i = 0; i < inputs; i++) back.begin[i + 1] += back.begin[i];
  for (int32_t output = 0; output < axis.outputs; output++)
    for (int32_t t = axis.begin[output]; t < axis.begin[output + 1]; t++) {
      const int32_t to = back.begin[axis.place[t]]++;
      back.place[to] = output;
      back.tap[to] = axis.tap[t];
      back.weight[to] = axis.weight[t];
    }
  for (int64_t i = inputs; i > 0; i--) back.begin[i] = back.begin[i - 1];
  back.begin[0] = 0;
  return back;
}

// line[w] = or += sum of n rows of x, each times its weight.
template <int n, bool add>
static inline void SumRows(float* line, const float* const* rows, const float* weights, int64_t width) {
  Vector weight[n];
  PELLUCID_UNROLL(4) for (int i = 0; i < n; i++) weight[i] = InRegister(weights[i]);
  for (int64_t w = 0; w < width; w += kLanes) {
    Vector sum = Load(rows[0] + w) * weight[0];
    PELLUCID_UNROLL(4) for (int i = 1; i < n; i++) sum += Load(rows[i] + w) * weight[i];
    Store(line + w, add ? Load(line + w) + sum : sum);
  }
}

// The line of one output row: x itself where it reads one row as it stands.
static inline const float* SumOfRows(float* line, const float* x, int64_t width, const Axis& rows, int32_t p) {
  const int32_t begin = rows.begin[p], end = rows.begin[p + 1];
  if (end == begin + 1 && rows.weight[begin] == 1.0f) return x + rows.place[begin] * width;
  for (int32_t t = begin; t < end; t += 4) {
    const float* from[4];
    const int n = int(Least(4, end - t));
    for (int i = 0; i < n; i++) from[i] = x + rows.place[t + i] * width;
    const float* weights = rows.weight + t;
    if (t == begin) {
      if (n == 1) SumRows<1, false>(line, from, weights, width);
      if (n == 2) SumRows<2, false>(line, from, weights, width);
      if (n == 3) SumRows<3, false>(line, from, weights, width);
      if (n == 4) SumRows<4, false>(line, from, weights, width);
    } else {
      if (n == 1) SumRows<1, true>(line, from, weights, width);
      if (n == 2) SumRows<2, true>(line, from, weights, width);
      if (n == 3) SumRows<3, true>(line, from, weights, width);
      if (n == 4) SumRows<4, true>(line, from, weights, width);
    }
  }
  return line;
}

// y[q] = or += the taps of column q, for columns [first, last) that have n taps each; n = 0: any number.
template <int n, bool add>
static inline void SumColumns(float* y, const float* line, const Axis& columns, int32_t first, int32_t last) {
  const int32_t* place = columns.place + columns.begin[first];
  const float* weight = columns.weight + columns.begin[first];
  for (int32_t q = first; q < last; q++) {
    const int32_t taps = n ? n : columns.begin[q + 1] - columns.begin[q];
    Vector sum{};
    if (taps > 0) sum = Load(line + place[0] * kLanes) * weight[0];
    if (n) {
      PELLUCID_UNROLL(4) for (int i = 1; i < n; i++) sum += Load(line + place[i] * kLanes) * weight[i];
    } else {
      for (int32_t i = 1; i < taps; i++) sum += Load(line + place[i] * kLanes) * weight[i];
    }
    Store(y + q * kLanes, add ? Load(y + q * kLanes) + sum : sum);
    place += taps;
    weight += taps;
  }
}

// Columns in runs of the same number of taps: in the middle of a map all have the same.
template <bool add>
static inline void SumOfColumns(float* y, const float* line, const Axis& columns) {
  for (int32_t first = 0, last; first < columns.outputs; first = last) {
    const int32_t taps = columns.begin[first + 1] - columns.begin[first];
    for (last = first + 1; last < columns.outputs; last++)
      if (columns.begin[last + 1] - columns.begin[last] != taps) break;
    if (taps == 1) SumColumns<1, add>(y, line, columns, first, last);
    else if (taps == 2) SumColumns<2, add>(y, line, columns, first, last);
    else if (taps == 3) SumColumns<3, add>(y, line, columns, first, last);
    else if (taps == 4) SumColumns<4, add>(y, line, columns, first, last);
    else SumColumns<0, add>(y, line, columns, first, last);
  }
}

// One channel: x [H][W][L], y [rows.outputs][columns.outputs][L], line [W][L] of the kernel's scratch memory.
static inline void Separable(float* y, const float* x, int64_t W, const Axis& rows, const Axis& columns, float* line,
                             bool add) {
  const int64_t out = int64_t(columns.outputs) * kLanes;
  for (int32_t p = 0; p < rows.outputs; p++, y += out) {
    if (rows.begin[p] == rows.begin[p + 1]) {
      if (!add) memset(y, 0, size_t(out) * 4);
      continue;
    }
    const float* sums = SumOfRows(line, x, W * kLanes, rows, p);
    if (add)
      SumOfColumns<true>(y, sums, columns);
    else
      SumOfColumns<false>(y, sums, columns);
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
