// Average and sum pooling, adaptive average pooling, and sums and means over whole axes.
//
//   y[c, p, q] = 1 / count(p, q)  sum over the window of x          dL/dx[c, h, w] = sum over windows of dL/dy / count
//
// The count of a window is a product of its rows' and its columns', so that both ways are separable (separable.h).
#include "../kernels.h"
#include "../windows.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

// x and y as the pass reads and writes them: forward x to y, backward y to x by the transposed axes.
void AveragePool(const PoolingArguments& a, const PellucidUnits& range, bool backward) {
  const WindowsOfAxis row_windows = RowWindows(a), column_windows = ColumnWindows(a);
  float* memory = pellucid_lanes_scratch(0, WindowsFloats(row_windows) + WindowsFloats(column_windows));
  Axis rows = Windows(a, row_windows, memory), columns = Windows(a, column_windows, memory);
  if (a.divisor)
    for (int32_t t = 0; t < rows.begin[rows.outputs]; t++) rows.weight[t] = 1.0f / float(a.divisor);
  if (backward) {
    rows = Transposed(rows, a.H, memory);
    columns = Transposed(columns, a.W, memory);
  }
  const int64_t x_channel = int64_t(a.H) * a.W * kLanes, y_channel = int64_t(a.P) * a.Q * kLanes;
  float* line = pellucid_lanes_scratch(1, int64_t(backward ? a.Q : a.W) * kLanes);
  for (int64_t g = range.begin; g < range.end; g++) {
    float* x = a.x + g * a.x_group;
    float* y = a.y + g * a.y_group;
    for (int32_t c = 0; c < a.C; c++, x += x_channel, y += y_channel) {
      if (backward)
        Separable(x, y, a.Q, rows, columns, line, a.accumulate);
      else
        Separable(y, x, a.W, rows, columns, line, false);
    }
  }
}

}  // namespace

// By groups.
void AveragePoolForward(const void* arguments, const PellucidUnits* range) {
  AveragePool(*static_cast<const PoolingArguments*>(arguments), *range, false);
}

// By groups: reads dL/dy in y, writes or adds dL/dx in x.
void AveragePoolBackward(const void* arguments, const PellucidUnits* range) {
  AveragePool(*static_cast<const PoolingArguments*>(arguments), *range, true);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
