// Sums over pictures and pixels of each channel: the gradient of a bias.
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

// By groups. bias[slot w_slot + k] = sum of y[g, k, p, q] over the slot's groups, p, q and lanes: dead lanes hold
// zeros. Of the arguments only y, y_group, K, P, Q, bias and w_slot are read.
void ChannelSums(const void* arguments, const PellucidUnits* range) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const int64_t pixels = int64_t(a.P) * a.Q;
  float* const sums = a.bias + range->slot * a.w_slot;
  for (int64_t g = range->begin; g < range->end; g++)
    for (int64_t k = 0; k < a.K; k++) {
      const float* y = a.y + g * a.y_group + k * pixels * kLanes;
      Vector part[8] = {};
      int64_t i = 0;
      for (; i + 8 <= pixels; i += 8) {
        PELLUCID_UNROLL(8)
        for (int j = 0; j < 8; j++) part[j] += Load(y + (i + j) * kLanes);
      }
      for (; i < pixels; i++) part[i % 8] += Load(y + i * kLanes);
      const float sum = Sum(((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7])));
      sums[k] = range->first && g == range->begin ? sum : sums[k] + sum;
    }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
