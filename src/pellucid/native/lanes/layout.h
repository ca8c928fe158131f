// The arguments of kernels that move numbers. (Parsed by lanes/arguments.py.)
#pragma once

#include <stdint.h>

struct LayoutArguments {
  float* plain;  // [N][M], as PyTorch has it
  float* lanes;  // [G][M][L], groups lanes_group floats apart
  int64_t lanes_group;
  int64_t M;           // numbers of one picture
  int32_t N;           // pictures
  int32_t accumulate;  // whether the result is added to, not written
  int32_t is_gradient;  // of to_lanes: lanes past the batch's end become 0; else they repeat the last picture
};

struct SumArguments {
  float* parts;   // [slots][n], slot_floats apart
  float* result;  // [n]
  int64_t slot_floats;
  int64_t n;
  int32_t slots;
};

struct FillArguments {
  float* lanes;  // [G][n], groups lanes_group floats apart
  int64_t lanes_group;
  int64_t n;  // floats of each group
  float number;
};
