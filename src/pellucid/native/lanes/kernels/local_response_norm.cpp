// Local response normalisation, as AlexNet and GoogLeNet have it.
//
//   forward:   y[c] = x[c] u[c], u = s^-beta, s[c] = k + alpha / size sum of x[i]^2 over the window of c:
//              i from c - size / 2 to c + (size - 1) / 2 inside the picture
//   gradient:  dx[j] = dy[j] u[j] - 2 alpha beta / size x[j] sum of dy[c] x[c] u[c] / s[c] over the c whose window has j
//
// Four pixels at a time go through all channels, by scratch memory with zeros where windows leave the picture.
#include "../functions.h"
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

// s^-beta for s >= 0
PELLUCID_INLINE Vector InversePower(Vector s, float beta) {
  if (beta == 0.75f) {
    const Vector root = SquareRoot(s);
    return 1.0f / (root * SquareRoot(root));
  }
  if (beta == 0.5f) return 1.0f / SquareRoot(s);
  if (beta == 1.0f) return 1.0f / s;
  return Exp(Log(s) * -beta);
}

// [before + C + after][kPixels][L] of scratch memory, zeros before and after; returns where the channels begin.
PELLUCID_INLINE float* Padded(int slot, int32_t before, int32_t C, int32_t after, int32_t pixels) {
  const int64_t row = int64_t(pixels) * kLanes;
  float* all = pellucid_lanes_scratch(slot, (before + C + after) * row);
  memset(all, 0, sizeof(float) * size_t(before * row));
  memset(all + (before + C) * row, 0, sizeof(float) * size_t(after * row));
  return all + before * row;
}

// s of a channel, from the squares of all.
template <int kPixels>
PELLUCID_INLINE Vector WindowSum(const float* padded, int32_t first, int32_t size, int b) {
  Vector sum{};
  for (int32_t i = 0; i < size; i++) sum += Load(padded + (int64_t(first + i) * kPixels + b) * kLanes);
  return sum;
}

template <int kPixels>
void ForwardPixels(const LocalResponseNormArguments& a, const float* x, float* y) {
  const int64_t plane = int64_t(a.M) * kLanes;
  const int32_t before = a.size / 2;
  float* squares = Padded(0, before, a.C, a.size - 1 - before, kPixels);
  for (int32_t c = 0; c < a.C; c++)
    for (int b = 0; b < kPixels; b++) {
      const Vector v = Load(x + c * plane + b * kLanes);
      Store(squares + (int64_t(c) * kPixels + b) * kLanes, v * v);
    }
  const float alpha = a.alpha / float(a.size);
  for (int32_t c = 0; c < a.C; c++)
    PELLUCID_UNROLL(4)
    for (int b = 0; b < kPixels; b++) {
      const Vector s = WindowSum<kPixels>(squares, c - before, a.size, b) * alpha + a.k;
      Store(y + c * plane + b * kLanes, Load(x + c * plane + b * kLanes) * InversePower(s, a.beta));
    }
}

template <int kPixels>
void GradientPixels(const LocalResponseNormArguments& a, const float* x, const float* dy, float* dx) {
  const int64_t plane = int64_t(a.M) * kLanes;
  const int32_t before = a.size / 2, after = a.size - 1 - before;
  float* squares = Padded(0, before, a.C, after, kPixels);
  float* terms = Padded(1, after, a.C, before, kPixels);
  float* own = pellucid_lanes_scratch(2, int64_t(a.C) * kPixels * kLanes);
  for (int32_t c = 0; c < a.C; c++)
    for (int b = 0; b < kPixels; b++) {
      const Vector v = Load(x + c * plane + b * kLanes);
      Store(squares + (int64_t(c) * kPixels + b) * kLanes, v * v);
    }
  const float alpha = a.alpha / float(a.size);
  for (int32_t c = 0; c < a.C; c++)
    PELLUCID_UNROLL(4)
    for (int b = 0; b < kPixels; b++) {
      const Vector s = WindowSum<kPixels>(squares, c - before, a.size, b) * alpha + a.k;
      const Vector d = Load(dy + c * plane + b * kLanes) * InversePower(s, a.beta);
      Store(own + (int64_t(c) * kPixels + b) * kLanes, d);
      Store(terms + (int64_t(c) * kPixels + b) * kLanes, d * Load(x + c * plane + b * kLanes) / s);
    }
  const float factor = -2.0f * alpha * a.beta;
  for (int32_t c = 0; c < a.C; c++)
    PELLUCID_UNROLL(4)
    for (int b = 0; b < kPixels; b++) {
      const Vector others = WindowSum<kPixels>(terms, c - after, a.size, b) * factor;
      const Vector d = Load(own + (int64_t(c) * kPixels + b) * kLanes) + Load(x + c * plane + b * kLanes) * others;
      float* out = dx + c * plane + b * kLanes;
      Store(out, a.accumulate ? Load(out) + d : d);
    }
}

}  // namespace

// By groups.
void LocalResponseNormForward(const void* arguments, const PellucidUnits* units) {
  const LocalResponseNormArguments& a = *static_cast<const LocalResponseNormArguments*>(arguments);
  for (int64_t g = units->begin; g < units->end; g++) {
    const float* x = a.x + g * a.x_group;
    float* y = a.y + g * a.y_group;
    int64_t m = 0;
    for (; m + 4 <= a.M; m += 4) ForwardPixels<4>(a, x + m * kLanes, y + m * kLanes);
    for (; m < a.M; m++) ForwardPixels<1>(a, x + m * kLanes, y + m * kLanes);
  }
}

// By groups.
void LocalResponseNormGradient(const void* arguments, const PellucidUnits* units) {
  const LocalResponseNormArguments& a = *static_cast<const LocalResponseNormArguments*>(arguments);
  for (int64_t g = units->begin; g < units->end; g++) {
    const float* x = a.x + g * a.x_group;
    const float* dy = a.y + g * a.y_group;
    float* dx = a.dx + g * a.dx_group;
    int64_t m = 0;
    for (; m + 4 <= a.M; m += 4) GradientPixels<4>(a, x + m * kLanes, dy + m * kLanes, dx + m * kLanes);
    for (; m < a.M; m++) GradientPixels<1>(a, x + m * kLanes, dy + m * kLanes, dx + m * kLanes);
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
