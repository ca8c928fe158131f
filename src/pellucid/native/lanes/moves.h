// The arguments of kernels that move feature maps or make them larger and smaller. (Parsed by lanes/arguments.py.)
//
// Letters: G groups of lanes, C H W the input's channels and size, K P Q the output's, L lanes. A backward kernel reads
// dL/dy in y and writes dL/dx in x.
#pragma once

#include <stdint.h>

// y[k, p, q] = x[c(k), h(p), w(q)]. Along each axis output i reads start + i step; what lies outside is folded back as
// `mode` says, and of mode 0 it is `value`.
struct MoveArguments {
  float* x;  // [G][C][H][W][L], groups x_group floats apart
  float* y;  // [G][K][P][Q][L], groups y_group floats apart
  int64_t x_group;
  int64_t y_group;
  int32_t G;
  int32_t live;
  int32_t C;
  int32_t H;
  int32_t W;
  int32_t K;
  int32_t P;
  int32_t Q;
  int32_t start_c;  // a padding before of n is a start of -n; a crop has a start above 0
  int32_t start_h;
  int32_t start_w;
  int32_t step_c;  // -1 turns the order round
  int32_t step_h;
  int32_t step_w;
  int32_t shuffle;  // above 1: channel k reads (k mod shuffle) C / shuffle + k / shuffle instead
  int32_t mode;     // of H and W: 0 a constant, 1 reflected, 2 the border repeated, 3 round and round
  float value;
  int32_t accumulate;  // whether x (backward) is added to, not written
};

// y[c, p, q] is a mean of x at places near f p and f q, f the factor of each axis.
struct ResizeArguments {
  float* x;  // [G][C][H][W][L]
  float* y;  // [G][C][P][Q][L]
  int64_t x_group;
  int64_t y_group;
  int32_t G;
  int32_t live;
  int32_t C;
  int32_t H;
  int32_t W;
  int32_t P;
  int32_t Q;
  float factor_h;  // inputs for each output
  float factor_w;
  int32_t mode;     // 0 nearest, 1 nearest exact, 2 linear, 3 cubic
  int32_t corners;  // the first and the last places of both lie over one another
  int32_t accumulate;
};

// y[c, h r + i, w r + j] = x[c r r + i r + j, h, w]
struct PixelShuffleArguments {
  float* x;  // [G][C r r][H][W][L]
  float* y;  // [G][C][r H][r W][L]
  int64_t x_group;
  int64_t y_group;
  int32_t G;
  int32_t live;
  int32_t C;
  int32_t H;
  int32_t W;
  int32_t r;
  int32_t accumulate;  // whether what the kernel writes (pixel_shuffle y, pixel_unshuffle x) is added to
};
