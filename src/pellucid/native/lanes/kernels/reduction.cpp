// Sums, means, maxima and minima over whole axes.
//
//   y[o, i] = scale sum over n of x[o, n, i]           dL/dx[o, n, i] = scale dL/dy[o, i]
//   y[o, i] = max over n of x[o, n, i]                 dL/dx[o, n, i] = dL/dy[o, i] / places, where x is the maximum
//
// A maximum at several places shares its gradient among them, as in PyTorch's amax; NaN wins.
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

// The sum of `count` vectors `step` floats apart: eight partial sums, so that additions need not wait for one another
// and rounding errors grow with the eighth part of the count.
PELLUCID_INLINE Vector SumOf(const float* x, int64_t count, int64_t step) {
  constexpr int kParts = 8;
  Vector part[kParts] = {};
  int64_t n = 0;
  for (; n + kParts <= count; n += kParts, x += kParts * step)
    PELLUCID_UNROLL(8) for (int i = 0; i < kParts; i++) part[i] += Load(x + i * step);
  for (; n < count; n++, x += step) part[0] += Load(x);
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

enum Fold { kSum, kLargest, kLeast };

template <Fold fold>
PELLUCID_INLINE Vector Folded(Vector a, Vector b) {
  return fold == kSum ? a + b : fold == kLargest ? Max(a, b) : -Max(-a, -b);
}

// y[i] for n places side by side: what is next in a sum is a whole row further on.
template <int n, Fold fold>
PELLUCID_INLINE void FoldPlaces(float* y, const float* x, int64_t count, int64_t step, float scale) {
  Vector result[n];
  PELLUCID_UNROLL(8) for (int i = 0; i < n; i++) result[i] = Load(x + i * kLanes);
  for (int64_t k = 1; k < count; k++) {
    x += step;
    PELLUCID_UNROLL(8) for (int i = 0; i < n; i++) result[i] = Folded<fold>(result[i], Load(x + i * kLanes));
  }
  PELLUCID_UNROLL(8) for (int i = 0; i < n; i++) Store(y + i * kLanes, fold == kSum ? result[i] * scale : result[i]);
}

template <Fold fold>
void Reduce(const ReductionArguments& a, const PellucidUnits& range) {
  const int64_t step = int64_t(a.inner) * kLanes;
  for (int64_t g = range.begin; g < range.end; g++)
    for (int64_t o = 0; o < a.outer; o++) {
      const float* x = a.x + g * a.x_group + o * a.count * step;
      float* y = a.y + g * a.y_group + o * step;
      int64_t i = 0;
      for (; i + 8 <= a.inner; i += 8) FoldPlaces<8, fold>(y + i * kLanes, x + i * kLanes, a.count, step, a.scale);
      for (; i < a.inner; i++) {
        if (fold == kSum)
          Store(y + i * kLanes, SumOf(x + i * kLanes, a.count, step) * a.scale);
        else
          FoldPlaces<1, fold>(y + i * kLanes, x + i * kLanes, a.count, step, 1.0f);
      }
    }
}

// dL/dy shared among the places that hold y.
PELLUCID_INLINE void ShareGradient(float* to, const float* x, Vector y, Vector gradient, int64_t count, int64_t step,
                                   bool add) {
  Vector places{};
  for (int64_t n = 0; n < count; n++) places += Select(Load(x + n * step) == y, Splat(1.0f), Vector{});
  // Nowhere does x equal a NaN: its gradient is NaN in all places, as that of any number times 0 / 0.
  const Vector share = Select(places > 0.0f, gradient / places, Splat(__builtin_nanf("")));
  const Integers nowhere = places == 0.0f;
  for (int64_t n = 0; n < count; n++) {
    const Vector part = Select((Load(x + n * step) == y) | nowhere, share, Vector{});
    Store(to + n * step, add ? Load(to + n * step) + part : part);
  }
}

}  // namespace

// By groups.
void ReduceSumForward(const void* arguments, const PellucidUnits* range) {
  Reduce<kSum>(*static_cast<const ReductionArguments*>(arguments), *range);
}

// By groups: reads dL/dy in y, writes or adds dL/dx in x.
void ReduceSumBackward(const void* arguments, const PellucidUnits* range) {
  const ReductionArguments& a = *static_cast<const ReductionArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++)
    for (int64_t o = 0; o < a.outer; o++) {
      const float* y = a.y + g * a.y_group + o * a.inner * kLanes;
      float* x = a.x + g * a.x_group + o * a.count * a.inner * kLanes;
      for (int64_t n = 0; n < a.count; n++)
        for (int64_t i = 0; i < a.inner; i++, x += kLanes) {
          const Vector part = Load(y + i * kLanes) * a.scale;
          Store(x, a.accumulate ? Load(x) + part : part);
        }
    }
}

// By groups.
void ReduceMaxForward(const void* arguments, const PellucidUnits* range) {
  const ReductionArguments& a = *static_cast<const ReductionArguments*>(arguments);
  if (a.least) Reduce<kLeast>(a, *range);
  else Reduce<kLargest>(a, *range);
}

// By groups: reads x, y and dL/dy, writes or adds dL/dx.
void ReduceMaxBackward(const void* arguments, const PellucidUnits* range) {
  const ReductionArguments& a = *static_cast<const ReductionArguments*>(arguments);
  const int64_t step = int64_t(a.inner) * kLanes;
  for (int64_t g = range->begin; g < range->end; g++)
    for (int64_t o = 0; o < a.outer; o++)
      for (int64_t i = 0; i < a.inner; i++) {
        const int64_t first = (o * a.count * a.inner + i) * kLanes, result = (o * a.inner + i) * kLanes;
        ShareGradient(a.x_gradient + g * a.x_gradient_group + first, a.x + g * a.x_group + first,
                      Load(a.y + g * a.y_group + result), Load(a.y_gradient + g * a.y_gradient_group + result), a.count,
                      step, a.accumulate);
      }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
