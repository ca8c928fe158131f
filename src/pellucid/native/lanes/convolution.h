// The arguments of every kernel of a convolution. (Parsed by lanes/arguments.py: plain declarations, one type a line.)
//
// Letters: G groups of lanes, C input channels, H W input size, K kernels, R S kernel size, P Q output size, L lanes.
//   y[g, k, p, q] = bias[k] + sum over c, r, s of x[g, c, p stride_h + r dilation_h - pad_h, ...] w[k, c, r, s]
// All passes take the forward geometry and the same names. Forward reads x and w, writes y; the input's gradient reads
// dL/dy in y and w, writes dL/dx in x; the weight's gradient reads x and dL/dy in y, writes dL/dw in w.
#pragma once

#include <stdint.h>

struct ConvolutionArguments {
  float* x;           // [G][C][H][W][L], groups x_group floats apart
  float* y;           // [G][K][P][Q][L], groups y_group floats apart
  float* w;           // [K][C / conv_groups][R][S], as PyTorch has it; of a weight gradient [slots] of such, w_slot apart
  float* bias;        // [K] or null
  float* packed;      // the weights as the algorithm wants them (its pack kernel writes, the others read)
  float* statistics;  // [G][K][3][L] or null: a shift, the sums of y - shift over P Q, and those of its square, by lanes
  int64_t x_group;
  int64_t y_group;
  int64_t w_slot;
  int32_t G;
  int32_t live;  // pictures in the last group: the other lanes repeat one and take no part in sums over the batch
  int32_t C;
  int32_t H;
  int32_t W;
  int32_t K;
  int32_t R;
  int32_t S;
  int32_t P;
  int32_t Q;
  int32_t stride_h;
  int32_t stride_w;
  int32_t pad_h;  // before; what stands behind follows from P and Q
  int32_t pad_w;
  int32_t dilation_h;
  int32_t dilation_w;
  int32_t conv_groups;
  int32_t accumulate;  // whether x (input's gradient) is added to, not written
  int32_t variant;     // which register block or tile, as the algorithm numbers them
};
