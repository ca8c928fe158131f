// The arguments of kernels that take windows or whole maps together. (Parsed by lanes/arguments.py.)
//
// Letters: G groups of lanes, C channels, H W input size, P Q output size, R S window, L lanes. Gradients stand where
// the numbers stand forward: a backward kernel reads dL/dy in y and writes dL/dx in x, unless both are needed.
#pragma once

#include <stdint.h>

struct PoolingArguments {
  float* x;          // [G][C][H][W][L], groups x_group floats apart
  float* y;          // [G][C][P][Q][L], groups y_group floats apart
  uint8_t* winners;  // of max pooling: [G][C][P][Q][L], the winning tap r S + s, or null; int32_t where wide_winners
  int64_t x_group;
  int64_t y_group;
  int32_t G;
  int32_t live;
  int32_t C;
  int32_t H;
  int32_t W;
  int32_t P;
  int32_t Q;
  int32_t R;
  int32_t S;
  int32_t stride_h;
  int32_t stride_w;
  int32_t pad_h;  // before
  int32_t pad_w;
  int32_t after_h;  // behind, as the layer says: what ceil mode adds to it counts in no mean
  int32_t after_w;
  int32_t dilation_h;
  int32_t dilation_w;
  int32_t adaptive;      // windows are floor(i H / P) to ceil((i + 1) H / P) - 1; R S: the largest of them
  int32_t include_pad;   // of average pooling: whether the padding counts as zeros
  int32_t divisor;       // of average pooling: what the sum is divided by; 0: the number of places counted
  int32_t wide_winners;  // of windows of more than 255 places
  int32_t accumulate;    // whether x (backward) is added to, not written
};

struct ReductionArguments {
  float* x;           // [G][outer][count][inner][L]
  float* y;           // [G][outer][inner][L]
  float* x_gradient;  // of reduce_max_backward, which needs x and y beside
  float* y_gradient;
  int64_t x_group;
  int64_t y_group;
  int64_t x_gradient_group;
  int64_t y_gradient_group;
  int32_t G;
  int32_t live;
  int32_t outer;  // with C H W: over H and W: C, H W, 1; over H: C, H, W; over W: C H, W, 1; over C: 1, C, H W
  int32_t count;
  int32_t inner;
  float scale;  // of sums: 1 / count makes the mean
  int32_t least;  // reduce_max takes the minimum
  int32_t accumulate;
};

struct SoftmaxArguments {
  float* x;           // [G][C][H W][L]
  float* y;           // the same; the logarithm's where `logarithm`
  float* x_gradient;
  float* y_gradient;
  int64_t x_group;
  int64_t y_group;
  int64_t x_gradient_group;
  int64_t y_gradient_group;
  int32_t G;
  int32_t live;
  int32_t C;
  int32_t pixels;  // H W: each has a softmax of its own
  int32_t logarithm;
  int32_t accumulate;
};
