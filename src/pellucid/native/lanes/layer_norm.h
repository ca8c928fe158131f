// The arguments of normalisations within a picture. (Parsed by lanes/arguments.py: plain declarations, one type a line.)
//
//   y = (x - mean) inverse_deviation weight + bias, the mean and the variance taken over a set of one picture's numbers:
//   pixel_norm: over the channels of a pixel (layer norm over the last dimension of NHWC, or over a vector of features)
//   group_norm: over the pixels of C / norm_groups channels (group norm; instance norm where norm_groups = C; layer norm
//   over C, H and W where it is 1, then `elementwise`)
#pragma once

#include <stdint.h>

struct LayerNormArguments {
  float* x;           // [G][C][M][L]
  float* y;           // [G][C][M][L]; of a gradient dL/dy, which is read
  float* dx;          // [G][C][M][L] written by a gradient, or null
  float* weight;      // [C], elementwise [C][M], or null: 1
  float* bias;        // [C], elementwise [C][M], or null: 0
  float* statistics;  // mean and inverse deviation: pixel_norm [G][M][2][L], group_norm [G][norm_groups][2][L]
  float* sums;        // [slots][2][C], elementwise [slots][2][C M], or null: of dL/dweight, of dL/dbias
  int64_t x_group;
  int64_t y_group;
  int64_t dx_group;
  int64_t sums_slot;
  int32_t G;
  int32_t live;  // pictures in the last group
  int32_t C;
  int32_t M;  // pixels
  int32_t norm_groups;
  int32_t elementwise;  // group_norm: a weight and bias for each number of the picture
  int32_t centred;      // 0: the mean is not taken away, and the variance is the mean square (RMS norm)
  int32_t accumulate;   // whether dx is added to
  float eps;
};

//   y[c] = x[c] (k + alpha / size sum of x[i]^2 for i from c - size / 2 to c + (size - 1) / 2 inside the picture)^-beta
struct LocalResponseNormArguments {
  float* x;   // [G][C][M][L]
  float* y;   // [G][C][M][L]; of the gradient dL/dy, which is read
  float* dx;  // [G][C][M][L]
  int64_t x_group;
  int64_t y_group;
  int64_t dx_group;
  int32_t C;
  int32_t M;  // pixels
  int32_t size;
  int32_t accumulate;
  float alpha;
  float beta;
  float k;
};
