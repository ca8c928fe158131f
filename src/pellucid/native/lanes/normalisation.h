// The arguments of batch normalisation. (Parsed by lanes/arguments.py: plain declarations, one type a line.)
//
//   z = weight (x - mean) inverse_deviation + bias = scale x + shift, channel by channel, over batch and pixels
#pragma once

#include <stdint.h>

struct BatchNormArguments {
  float* x;                  // [G][C][M][L], read by batch_norm_statistics
  float* statistics;         // [G][C][3][L]: a shift, the sums of x - shift over the pixels, and those of its square
  float* weight;             // [C] or null: 1
  float* bias;               // [C] or null: 0
  float* running_mean;       // [C] or null
  float* running_var;        // [C] or null
  float* mean;               // [C], like all that follow written by the kernels
  float* inverse_deviation;  // [C]
  float* scale;              // [C]
  float* shift;              // [C]
  float* sums;               // [slots][C][2][L]: of dz and dz (x - mean)
  float* factors;            // [C][2]: dL/dx = scale dz + factors[c][0] (x - mean) + factors[c][1]
  float* weight_gradient;    // [C] or null
  float* bias_gradient;      // [C] or null
  int64_t x_group;
  int64_t sums_slot;
  double momentum;
  double eps;
  int32_t G;
  int32_t live;  // pictures in the last group
  int32_t C;
  int32_t M;  // pixels of a channel
  int32_t slots;
  int32_t training;  // whether the batch's statistics are taken, and the running ones brought up to date
};
