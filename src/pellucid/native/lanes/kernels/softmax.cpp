// Softmax over the channels at each place of a map, and its logarithm.
//
//   y[c] = exp(x[c] - m) / s,  m = max over c of x,  s = sum of exp(x[c] - m)    dL/dx[c] = y[c] (dy[c] - sum of y dy)
//   logarithm: y[c] = x[c] - m - log s                                          dL/dx[c] = dy[c] - exp(y[c]) sum of dy
//
// n places side by side at a time: a channel's step to the next one is a whole map.
#include "../functions.h"
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int kSideBySide = 4;

template <int n>
void SoftmaxPlaces(const SoftmaxArguments& a, const float* x, float* y) {
  const int64_t step = int64_t(a.pixels) * kLanes;
  Vector largest[n], sum[n];
  for (int i = 0; i < n; i++) largest[i] = Load(x + i * kLanes);
  for (int64_t c = 1; c < a.C; c++)
    for (int i = 0; i < n; i++) largest[i] = Max(largest[i], Load(x + c * step + i * kLanes));
  for (int i = 0; i < n; i++) sum[i] = Vector{};
  for (int64_t c = 0; c < a.C; c++)
    for (int i = 0; i < n; i++) {
      const Vector power = Exp(Load(x + c * step + i * kLanes) - largest[i]);
      sum[i] += power;
      if (!a.logarithm) Store(y + c * step + i * kLanes, power);
    }
  for (int i = 0; i < n; i++) sum[i] = a.logarithm ? Log(sum[i]) : 1.0f / sum[i];
  for (int64_t c = 0; c < a.C; c++)
    for (int i = 0; i < n; i++) {
      float* to = y + c * step + i * kLanes;
      Store(to, a.logarithm ? Load(x + c * step + i * kLanes) - largest[i] - sum[i] : Load(to) * sum[i]);
    }
}

template <int n>
void SoftmaxPlacesBack(const SoftmaxArguments& a, const float* y, const float* y_gradient, float* x_gradient) {
  const int64_t step = int64_t(a.pixels) * kLanes;
  Vector sum[n];
  for (int i = 0; i < n; i++) sum[i] = Vector{};
  for (int64_t c = 0; c < a.C; c++)
    for (int i = 0; i < n; i++) {
      const Vector gradient = Load(y_gradient + c * step + i * kLanes);
      sum[i] += a.logarithm ? gradient : gradient * Load(y + c * step + i * kLanes);
    }
  for (int64_t c = 0; c < a.C; c++)
    for (int i = 0; i < n; i++) {
      const int64_t at = c * step + i * kLanes;
      const Vector value = Load(y + at), gradient = Load(y_gradient + at);
      const Vector part = a.logarithm ? gradient - Exp(value) * sum[i] : value * (gradient - sum[i]);
      Store(x_gradient + at, a.accumulate ? Load(x_gradient + at) + part : part);
    }
}

}  // namespace

// By groups.
void SoftmaxForward(const void* arguments, const PellucidUnits* range) {
  const SoftmaxArguments& a = *static_cast<const SoftmaxArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++) {
    const float* x = a.x + g * a.x_group;
    float* y = a.y + g * a.y_group;
    int64_t i = 0;
    for (; i + kSideBySide <= a.pixels; i += kSideBySide) SoftmaxPlaces<kSideBySide>(a, x + i * kLanes, y + i * kLanes);
    for (; i < a.pixels; i++) SoftmaxPlaces<1>(a, x + i * kLanes, y + i * kLanes);
  }
}

// By groups: reads y and dL/dy, writes or adds dL/dx.
void SoftmaxBackward(const void* arguments, const PellucidUnits* range) {
  const SoftmaxArguments& a = *static_cast<const SoftmaxArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++) {
    const float* y = a.y + g * a.y_group;
    const float* y_gradient = a.y_gradient + g * a.y_gradient_group;
    float* x_gradient = a.x_gradient + g * a.x_gradient_group;
    int64_t i = 0;
    for (; i + kSideBySide <= a.pixels; i += kSideBySide)
      SoftmaxPlacesBack<kSideBySide>(a, y + i * kLanes, y_gradient + i * kLanes, x_gradient + i * kLanes);
    for (; i < a.pixels; i++)
      SoftmaxPlacesBack<1>(a, y + i * kLanes, y_gradient + i * kLanes, x_gradient + i * kLanes);
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
