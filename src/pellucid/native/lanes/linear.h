// The arguments of the kernels of a linear layer. (Parsed by lanes/arguments.py.)
//
//   y[g, o] = bias[o] + sum over i of w[o, i] x[g, i]
// All passes take the same names. The input's gradient reads dL/dy in y and writes dL/dx in x; the weight's gradient
// reads x and dL/dy in y and writes dL/dw in w and dL/dbias in bias.
#pragma once

#include <stdint.h>

struct LinearArguments {
  float* x;       // [G][I][L], groups x_group floats apart
  float* y;       // [G][O][L], groups y_group floats apart
  float* w;       // [O][I], as PyTorch has it; of the weight's gradient it may be null
  float* bias;    // [O] or null
  float* packed;  // x with pictures and features exchanged: [I / 64][G L][64], I rounded up (linear_pack writes it)
  int64_t x_group;
  int64_t y_group;
  int32_t G;
  int32_t I;
  int32_t O;
  int32_t block;       // outputs (input's gradient: inputs) of one unit, where units are not groups
  int32_t accumulate;  // whether x (input's gradient) is added to, not written
};
