// The input's gradient of a direct convolution: dx[c, h, w] = sum of dy[k, p, q] w[k, c, r, s] over k and all p, r with
// h = p stride + r dilation - pad (columns as well).
//
// Input rows are dealt to `stride` phases, h = phase + stride i. In one phase every r that counts is r0 + m stride / g,
// g = gcd(stride, dilation), and its p is i + (phase + pad - r dilation) / stride: a pass with step 1 whose taps lie
// dilation / g apart, taken from the last to the first. Over both axes that makes stride_h x stride_w passes, and none
// multiplies by the zeros between dy's pixels. A phase that no tap reaches gets zeros. All phases of a tile are done
// together, while its dy and dx are in the cache.
#include "../direct_pass.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

struct Phase {
  Axis axis;
  int64_t last, back;  // tap t is the kernel's last - t back
};

PELLUCID_INLINE int64_t Gcd(int64_t a, int64_t b) {
  while (b != 0) {
    const int64_t r = a % b;
    a = b;
    b = r;
  }
  return a;
}

Phase PhaseOf(int64_t phase, int64_t inputs, int64_t taps, int64_t stride, int64_t dilation, int64_t pad) {
  const int64_t g = Gcd(stride, dilation), back = stride / g;
  Phase found{{Parts(inputs - phase, stride), 0, 1, dilation / g, 0}, 0, back};
  int64_t first = 0;
  while (first < Least(taps, back) && (phase + pad - first * dilation) % stride != 0) first++;
  if (first >= Least(taps, back)) return found;
  found.axis.taps = (taps - 1 - first) / back + 1;
  found.last = first + (found.axis.taps - 1) * back;
  found.axis.offset = (phase + pad - found.last * dilation) / stride;
  return found;
}

PELLUCID_INLINE Phase RowPhase(const ConvolutionArguments& a, int64_t phase) {
  return PhaseOf(phase, a.H, a.R, a.stride_h, a.dilation_h, a.pad_h);
}
PELLUCID_INLINE Phase ColumnPhase(const ConvolutionArguments& a, int64_t phase) {
  return PhaseOf(phase, a.W, a.S, a.stride_w, a.dilation_w, a.pad_w);
}

}  // namespace

// Units: blocks of input channels, conv_groups x ceil(C / conv_groups / kBlock).
// packed[group][phase][block][k][r][s][cb], the taps of each phase as above; as many floats as w has.
void DirectPackTransposed(const void* arguments, const PellucidUnits* range) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const int64_t C = a.C / a.conv_groups, K = a.K / a.conv_groups, T = int64_t(a.R) * a.S, blocks = Parts(C, kBlock);
  for (int64_t unit = range->begin; unit < range->end; unit++) {
    const int64_t c = BlockStart(C, unit % blocks), n = BlockStart(C, unit % blocks + 1) - c;
    const float* const w = a.w + unit / blocks * K * C * T + c * T;
    float* packed = a.packed + unit / blocks * K * C * T;
    for (int64_t phase = 0; phase < int64_t(a.stride_h) * a.stride_w; phase++) {
      const Phase rows = RowPhase(a, phase / a.stride_w), columns = ColumnPhase(a, phase % a.stride_w);
      const int64_t taps = rows.axis.taps * columns.axis.taps;
      float* out = packed + c * K * taps;
      for (int64_t k = 0; k < K; k++)
        for (int64_t r = 0; r < rows.axis.taps; r++)
          for (int64_t s = 0; s < columns.axis.taps; s++) {
            const int64_t tap = (rows.last - r * rows.back) * a.S + columns.last - s * columns.back;
            for (int64_t j = 0; j < n; j++) *out++ = w[(k * C + j) * T + tap];
          }
      packed += C * K * taps;
    }
  }
}

// By groups. dx = or += (`accumulate`) dy * w. A transposed convolution's forward is the same: `bias` [C] is added and
// `statistics` [G][C][3][L] are taken, if they are not null.
void DirectInputGradient(const void* arguments, const PellucidUnits* range) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const int64_t C = a.C / a.conv_groups, K = a.K / a.conv_groups, y_row = int64_t(a.Q) * kLanes;
  const int64_t x_row = int64_t(a.W) * kLanes, x_channel = a.H * x_row;
  Axis* const phases = reinterpret_cast<Axis*>(
      pellucid_lanes_scratch(3, (a.stride_h + a.stride_w) * int64_t(sizeof(Axis) / sizeof(float))));
  for (int64_t i = 0; i < a.stride_h; i++) phases[i] = RowPhase(a, i).axis;
  for (int64_t i = 0; i < a.stride_w; i++) phases[a.stride_h + i] = ColumnPhase(a, i).axis;
  for (int64_t g = range->begin; g < range->end; g++)
    for (int64_t i = 0; i < a.conv_groups; i++) {
      Pass pass;
      pass.x_row = y_row;
      pass.x_channel = a.P * y_row;
      pass.x = a.y + g * a.y_group + i * K * pass.x_channel;
      pass.y_pixel = a.stride_w * kLanes;
      pass.y_row = a.stride_h * x_row;
      pass.y_channel = x_channel;
      pass.y_down = x_row;
      pass.y_right = kLanes;
      pass.y = a.x + g * a.x_group + i * C * x_channel;
      pass.w = a.packed + i * K * C * a.R * a.S;
      pass.bias = a.bias ? a.bias + i * C : nullptr;
      pass.statistics = a.statistics ? a.statistics + (g * a.C + i * C) * 3 * kLanes : nullptr;
      pass.rows = {phases, a.stride_h, a.P};
      pass.columns = {phases + a.stride_h, a.stride_w, a.Q};
      pass.C = K;
      pass.K = C;
      pass.accumulate = a.accumulate;
      pass.past = !a.accumulate && IsPast(a.statistics ? a.G : 1, a.C * x_channel);
      RunPass(pass);
    }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
