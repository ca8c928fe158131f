// Batch normalisation: statistics of a batch, and what the affine, its way back and its parameters need of them.
//
//   mean, var over batch and pixels;  inverse = 1 / sqrt(var + eps)
//   scale = weight inverse;  shift = bias - mean scale
//   S1 = sum dz, S2 = sum dz (x - mean), n terms:
//   dL/dbias = S1, dL/dweight = S2 inverse, dL/dx = scale dz + A (x - mean) + B, A = -scale inverse^2 S2 / n,
//   B = -scale S1 / n
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int kBlock = 16;  // channels of a unit

typedef double Doubles __attribute__((vector_size(kLanes * 8)));

PELLUCID_INLINE Doubles ToDoubles(const float* p) { return __builtin_convertvector(Load(p), Doubles); }

PELLUCID_INLINE double SumLive(Doubles v, int live) {
  double sum = 0;
  for (int l = 0; l < live; l++) sum += v[l];
  return sum;
}

struct Moments {
  double mean, deviations;  // sum of (x - mean)^2
};

// Each lane of each group has the shift, sum and sum of squares of M numbers: so their means count alike, and
//   sum (x - mean)^2 = sum over lanes of (squares - sum^2 / M) + M (lane's mean - mean)^2
Moments Merge(const BatchNormArguments& a, int64_t c) {
  const double m = a.M;
  const int64_t step = int64_t(a.C) * 3 * kLanes;
  const float* of_channel = a.statistics + c * 3 * kLanes;
  double total = 0;
  for (int64_t g = 0; g < a.G; g++) {
    const float* s = of_channel + g * step;
    total += SumLive(ToDoubles(s) + ToDoubles(s + kLanes) / m, g == a.G - 1 ? a.live : kLanes);
  }
  const double mean = total / (double(a.G - 1) * kLanes + a.live);
  double deviations = 0;
  for (int64_t g = 0; g < a.G; g++) {
    const float* s = of_channel + g * step;
    const Doubles sum = ToDoubles(s + kLanes), within = ToDoubles(s + 2 * kLanes) - sum * sum / m;
    const Doubles away = ToDoubles(s) + sum / m - mean;
    deviations += SumLive(within + away * away * m, g == a.G - 1 ? a.live : kLanes);
  }
  return {mean, deviations > 0 || deviations != deviations ? deviations : 0};
}

double Count(const BatchNormArguments& a) { return (double(a.G - 1) * kLanes + a.live) * a.M; }

}  // namespace

// By groups: statistics[g][c] = the first pixel, the sum of what differs from it, and of its square, lane by lane.
void BatchNormStatistics(const void* arguments, const PellucidUnits* range) {
  const BatchNormArguments& a = *static_cast<const BatchNormArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++)
    for (int64_t c = 0; c < a.C; c++) {
      const float* x = a.x + g * a.x_group + c * a.M * kLanes;
      float* out = a.statistics + (g * a.C + c) * 3 * kLanes;
      const Vector shift = Load(x);
      Vector sums{}, squares{};
      for (int64_t i = 0; i < a.M;) {  // parts of 64 pixels, so that rounding does not grow with the plane
        const int64_t end = Least(i + 64, a.M);
        Vector s[2] = {}, q[2] = {};
        for (; i + 1 < end; i += 2) {
          const Vector u = Load(x + i * kLanes) - shift, v = Load(x + (i + 1) * kLanes) - shift;
          s[0] += u;
          q[0] += u * u;
          s[1] += v;
          q[1] += v * v;
        }
        for (; i < end; i++) {
          const Vector u = Load(x + i * kLanes) - shift;
          s[0] += u;
          q[0] += u * u;
        }
        sums += s[0] + s[1];
        squares += q[0] + q[1];
      }
      Store(out, shift);
      Store(out + kLanes, sums);
      Store(out + 2 * kLanes, squares);
    }
}

// Units: blocks of 16 channels. Makes mean, inverse deviation, scale and shift; in training of the batch's statistics,
// and running <- (1 - momentum) running + momentum batch, of the variance the unbiased one.
void BatchNormFinish(const void* arguments, const PellucidUnits* range) {
  const BatchNormArguments& a = *static_cast<const BatchNormArguments*>(arguments);
  const int64_t end = Least(a.C, range->end * kBlock);
  const double n = Count(a);
  for (int64_t c = range->begin * kBlock; c < end; c++) {
    double mean, variance;
    if (a.training) {
      const Moments moments = Merge(a, c);
      mean = moments.mean;
      variance = moments.deviations / n;
      if (a.running_mean) a.running_mean[c] = float((1 - a.momentum) * a.running_mean[c] + a.momentum * mean);
      if (a.running_var)
        a.running_var[c] = float((1 - a.momentum) * a.running_var[c] + a.momentum * moments.deviations / (n - 1));
    } else {
      mean = a.running_mean[c];
      variance = a.running_var[c];
    }
    const double inverse = 1 / __builtin_sqrt(variance + a.eps);
    const double scale = (a.weight ? a.weight[c] : 1.0f) * inverse;
    a.mean[c] = float(mean);
    a.inverse_deviation[c] = float(inverse);
    a.scale[c] = float(scale);
    a.shift[c] = float((a.bias ? a.bias[c] : 0.0f) - mean * scale);
  }
}

// Units: blocks of 16 channels. Makes the parameters' gradients and, in training, the factors of dL/dx.
void BatchNormBackwardFinish(const void* arguments, const PellucidUnits* range) {
  const BatchNormArguments& a = *static_cast<const BatchNormArguments*>(arguments);
  const int64_t end = Least(a.C, range->end * kBlock);
  const double n = Count(a);
  for (int64_t c = range->begin * kBlock; c < end; c++) {
    double of_dz = 0, of_product = 0;
    for (int64_t s = 0; s < a.slots; s++) {
      const float* sums = a.sums + s * a.sums_slot + c * 2 * kLanes;
      of_dz += SumLive(ToDoubles(sums), kLanes);
      of_product += SumLive(ToDoubles(sums + kLanes), kLanes);
    }
    const double inverse = a.inverse_deviation[c], scale = a.scale[c];
    if (a.bias_gradient) a.bias_gradient[c] = float(of_dz);
    if (a.weight_gradient) a.weight_gradient[c] = float(of_product * inverse);
    if (a.training && a.factors) {
      a.factors[2 * c] = float(-scale * inverse * inverse * of_product / n);
      a.factors[2 * c + 1] = float(-scale * of_dz / n);
    }
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
