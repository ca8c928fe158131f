// The windows of pooling along one axis, as an Axis: output i reads places i stride - pad + r dilation that are inside,
// or the i-th of P parts of the map.
#pragma once

#include "pooling.h"
#include "separable.h"

namespace pellucid::lanes::PELLUCID_ISA {

struct WindowsOfAxis {
  int32_t inputs, outputs, window, stride, pad, after, dilation;
};

PELLUCID_INLINE WindowsOfAxis RowWindows(const PoolingArguments& a) {
  return {a.H, a.P, a.R, a.stride_h, a.pad_h, a.after_h, a.dilation_h};
}
PELLUCID_INLINE WindowsOfAxis ColumnWindows(const PoolingArguments& a) {
  return {a.W, a.Q, a.S, a.stride_w, a.pad_w, a.after_w, a.dilation_w};
}

// The part of a reciprocal count that one axis has: the count is a product of both axes' counts.
PELLUCID_INLINE float MeanOfWindow(const PoolingArguments& a, const WindowsOfAxis& w, int64_t i, int64_t inside) {
  if (a.divisor) return 1.0f;
  if (!a.adaptive && a.include_pad)
    inside = Least(i * w.stride - w.pad + w.window, w.inputs + w.after) - (i * w.stride - w.pad);
  return 1.0f / float(Most(inside, 1));
}

static inline Axis Windows(const PoolingArguments& a, const WindowsOfAxis& w, float*& memory) {
  Axis axis = NewAxis(memory, w.outputs, int64_t(w.outputs) * w.window);
  int32_t taps = 0;
  for (int64_t i = 0; i < w.outputs; i++) {
    const int64_t first = a.adaptive ? i * w.inputs / w.outputs : i * w.stride - w.pad;
    const int64_t window = a.adaptive ? ((i + 1) * w.inputs + w.outputs - 1) / w.outputs - first : w.window;
    const int32_t begin = taps;
    for (int64_t r = 0; r < window; r++) {
      const int64_t place = first + r * (a.adaptive ? 1 : w.dilation);
      if (place < 0 || place >= w.inputs) continue;
      axis.place[taps] = int32_t(place);
      axis.tap[taps++] = int32_t(r);
    }
    const float mean = MeanOfWindow(a, w, i, taps - begin);
    for (int32_t t = begin; t < taps; t++) axis.weight[t] = mean;
    axis.begin[i + 1] = taps;
  }
  return axis;
}

// Memory for the windows of an axis and their transpose.
PELLUCID_INLINE int64_t WindowsFloats(const WindowsOfAxis& w) {
  const int64_t taps = int64_t(w.outputs) * w.window;
  return AxisFloats(w.outputs, taps) + AxisFloats(w.inputs, taps);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
