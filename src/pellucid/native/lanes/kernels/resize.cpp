// Feature maps made larger or smaller, and channels spread over space.
//
//   y[c, p, q] = sum over i, j of a_i b_j x[c, h_i, w_j]: one place of each axis (nearest), two (linear), four (cubic)
//
// Output i stands at f i of the input (nearest), at f (i + 1/2) - 1/2, or where corners are aligned at f i. Places are
// computed with the roundings of PyTorch: between two of the input's places a rounding error decides.
#include "../kernels.h"
#include "../separable.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

enum Mode { kNearest, kNearestExact, kLinear, kCubic };

struct Resized {
  int32_t inputs, outputs;
  float factor;
};

PELLUCID_INLINE int64_t Floor(float number) {
  const int64_t whole = int64_t(number);
  return whole - (float(whole) > number);
}

// Keys' cubic convolution (1981, eq. 15) with a = -0.75.
PELLUCID_INLINE float Keys(float distance) {
  const float x = distance < 0 ? -distance : distance, a = -0.75f;
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

PELLUCID_INLINE float PlaceOf(const ResizeArguments& a, const Resized& axis, int64_t i) {
  if (a.mode == kNearest) return float(i) * axis.factor;
  if (a.mode == kNearestExact) return axis.factor * (float(i) + 0.5f);
  if (a.corners) return float(i) * axis.factor;
  if (a.mode == kLinear && axis.inputs == axis.outputs) return float(i);
  const float place = float(double(axis.factor) * (double(i) + 0.5) - 0.5);  // one rounding
  return a.mode == kLinear && place < 0 ? 0.0f : place;
}

int TapsOf(const ResizeArguments& a) { return a.mode == kCubic ? 4 : a.mode == kLinear ? 2 : 1; }

Axis Places(const ResizeArguments& a, const Resized& axis, float*& memory) {
  const int taps = TapsOf(a);
  Axis found = NewAxis(memory, axis.outputs, int64_t(axis.outputs) * taps);
  for (int64_t i = 0; i < axis.outputs; i++) {
    const float place = PlaceOf(a, axis, i);
    const int64_t first = Least(Floor(place), axis.inputs - 1);
    float beyond = place - float(first);
    beyond = beyond < 0 ? 0 : beyond > 1 ? 1 : beyond;
    for (int t = 0; t < taps; t++) {
      const int64_t read = first + t - (a.mode == kCubic);
      found.place[i * taps + t] = int32_t(Most(0, Least(read, axis.inputs - 1)));
      found.tap[i * taps + t] = t;
      found.weight[i * taps + t] = taps == 1 ? 1.0f : taps == 4 ? Keys(beyond - float(t - 1)) : t ? beyond : 1 - beyond;
    }
    found.begin[i + 1] = int32_t((i + 1) * taps);
  }
  return found;
}

void Resize(const ResizeArguments& a, const PellucidUnits& range, bool backward) {
  const int64_t row_taps = int64_t(a.P) * TapsOf(a), column_taps = int64_t(a.Q) * TapsOf(a);
  float* memory = pellucid_lanes_scratch(0, AxisFloats(a.P, row_taps) + AxisFloats(a.H, row_taps) +
                                                AxisFloats(a.Q, column_taps) + AxisFloats(a.W, column_taps));
  Axis rows = Places(a, Resized{a.H, a.P, a.factor_h}, memory);
  Axis columns = Places(a, Resized{a.W, a.Q, a.factor_w}, memory);
  if (backward) {
    rows = Transposed(rows, a.H, memory);
    columns = Transposed(columns, a.W, memory);
  }
  const int64_t x_channel = int64_t(a.H) * a.W * kLanes, y_channel = int64_t(a.P) * a.Q * kLanes;
  float* line = pellucid_lanes_scratch(1, int64_t(backward ? a.Q : a.W) * kLanes);
  for (int64_t g = range.begin; g < range.end; g++)
    for (int64_t c = 0; c < a.C; c++) {
      float* x = a.x + g * a.x_group + c * x_channel;
      float* y = a.y + g * a.y_group + c * y_channel;
      if (backward)
        Separable(x, y, a.Q, rows, columns, line, a.accumulate);
      else
        Separable(y, x, a.W, rows, columns, line, false);
    }
}

// Between x [C r r][H][W] and y [C][r H][r W].
template <bool to_space>
void ShufflePixels(const PixelShuffleArguments& a, const PellucidUnits& range) {
  const int64_t r = a.r;
  for (int64_t g = range.begin; g < range.end; g++) {
    float* x = a.x + g * a.x_group;
    float* y = a.y + g * a.y_group;
    for (int64_t c = 0; c < a.C; c++)
      for (int64_t i = 0; i < r; i++)
        for (int64_t j = 0; j < r; j++)
          for (int64_t h = 0; h < a.H; h++) {
            float* in = x + (((c * r + i) * r + j) * a.H + h) * a.W * kLanes;
            float* out = y + (((c * a.H + h) * r + i) * a.W * r + j) * kLanes;
            for (int64_t w = 0; w < a.W; w++) {
              float* from = to_space ? in + w * kLanes : out + w * r * kLanes;
              float* to = to_space ? out + w * r * kLanes : in + w * kLanes;
              Store(to, a.accumulate ? Load(to) + Load(from) : Load(from));
            }
          }
  }
}

}  // namespace

// By groups.
void ResizeForward(const void* arguments, const PellucidUnits* range) {
  Resize(*static_cast<const ResizeArguments*>(arguments), *range, false);
}

// By groups: reads dL/dy in y, writes or adds dL/dx in x.
void ResizeBackward(const void* arguments, const PellucidUnits* range) {
  Resize(*static_cast<const ResizeArguments*>(arguments), *range, true);
}

// By groups: writes or adds y, the channels of x spread over space.
void PixelShuffle(const void* arguments, const PellucidUnits* range) {
  ShufflePixels<true>(*static_cast<const PixelShuffleArguments*>(arguments), *range);
}

// By groups: writes or adds x, the way back.
void PixelUnshuffle(const void* arguments, const PellucidUnits* range) {
  ShufflePixels<false>(*static_cast<const PixelShuffleArguments*>(arguments), *range);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
