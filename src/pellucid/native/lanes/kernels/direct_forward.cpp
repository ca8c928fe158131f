// Direct convolution, forward: packs the weights, then one pass of direct_pass.h for each group and group of channels.
#include "../direct_pass.h"

namespace pellucid::lanes::PELLUCID_ISA {

// Units: blocks of output channels, conv_groups x ceil(K / conv_groups / kBlock).
// packed[group][block][c][r][s][kb] = w[k, c, r, s]; as many floats as w has.
void DirectPack(const void* arguments, const PellucidUnits* range) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const int64_t K = a.K / a.conv_groups, terms = int64_t(a.C / a.conv_groups) * a.R * a.S, blocks = Parts(K, kBlock);
  for (int64_t unit = range->begin; unit < range->end; unit++) {
    const int64_t k = BlockStart(K, unit % blocks), n = BlockStart(K, unit % blocks + 1) - k;
    const int64_t first = (unit / blocks * K + k) * terms;
    for (int64_t i = 0; i < terms; i++)
      for (int64_t j = 0; j < n; j++) a.packed[first + i * n + j] = a.w[first + j * terms + i];
  }
}

// By groups. y = bias + x * w, or y += with `accumulate`; `statistics` of y, if asked for.
void DirectForward(const void* arguments, const PellucidUnits* range) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const int64_t C = a.C / a.conv_groups, K = a.K / a.conv_groups, x_row = int64_t(a.W) * kLanes;
  const Axis rows{a.P, a.R, a.stride_h, a.dilation_h, -a.pad_h};
  const Axis columns{a.Q, a.S, a.stride_w, a.dilation_w, -a.pad_w};
  for (int64_t g = range->begin; g < range->end; g++)
    for (int64_t i = 0; i < a.conv_groups; i++) {
      Pass pass;
      pass.x_row = x_row;
      pass.x_channel = a.H * x_row;
      pass.y_pixel = kLanes;
      pass.y_row = int64_t(a.Q) * kLanes;
      pass.y_channel = a.P * pass.y_row;
      pass.y_down = pass.y_right = 0;
      pass.x = a.x + g * a.x_group + i * C * pass.x_channel;
      pass.y = a.y + g * a.y_group + i * K * pass.y_channel;
      pass.w = a.packed + i * K * C * a.R * a.S;
      pass.bias = a.bias ? a.bias + i * K : nullptr;
      pass.statistics = a.statistics ? a.statistics + (g * a.K + i * K) * 3 * kLanes : nullptr;
      pass.rows = {&rows, 1, a.H};
      pass.columns = {&columns, 1, a.W};
      pass.C = C;
      pass.K = K;
      pass.accumulate = a.accumulate;
      pass.past = !a.accumulate && IsPast(a.statistics ? a.G : 1, a.K * pass.y_channel);
      RunPass(pass);
    }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
