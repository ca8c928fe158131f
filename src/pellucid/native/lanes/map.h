// The arguments of a map: an expression over feature maps, number by number, that may end in pooling.
// (Parsed by lanes/arguments.py: plain declarations, one type a line.)
//
//   registers 0 .. leaf_count - 1        the leaves
//   register  leaf_count + i             the result of instruction i; the last one is the map's result
//   y = pooling of the result, over windows that do not overlap (stride = size, no padding, rest dropped)
#pragma once

#include <stdint.h>

constexpr int kMapLeaves = 4;
constexpr int kMapInstructions = 12;
constexpr int kMapMostTaps = 32;  // of a pooling window, but for the average of a whole plane

// What a register holds at first. Of a feature map scale[c] x + shift[c], where these are not null.
//
// The gradient of a batch norm's input needs sums over the whole batch first: such a leaf has factors,
// map_backward_sums adds up its sums, and batch_norm_backward_finish makes the factors of them. Of all other leaves
// map_backward itself adds up the sums, and map_parameter_gradients makes the parameters' gradients of them.
struct MapLeaf {
  float* x;                  // map: [G][C][H][W][L]; gate: [G][C][1][1][L]; parameter: [C], for all channels: [1]
  float* scale;              // [C] or null: 1; of a map only
  float* shift;              // [C] or null: 0
  float* mean;               // [C] or null: 0; taken from x before it is multiplied, in sums and with a factor
  float* inverse_deviation;  // [C] or null: lets a batch norm's sums be taken over a pooled map
  float* factors;            // [C][2] = (A, B) or null: 0; dL/dx = scale dz + A (x - mean) + B, dz: after the affine
  float* sums;               // [slots][C][2][L] or null: of dz and dz (x - mean) over a slot's pictures and pixels
  float* gradient;           // dL/dx, of a map [G][C][H][W][L], of a gate [G][C][1][1][L]; or null: not wanted
  int64_t x_group;
  int64_t gradient_group;
  int64_t sums_slot;   // between the slots' sums
  int32_t kind;        // 0 map, 1 gate, 2 parameter of channels, 3 parameter for all
  int32_t accumulate;  // whether the gradient is added to, not written
};

// One instruction: code as lanes/blocks/expression.py numbers them; left and right are registers.
struct MapInstruction {
  float* seed;  // of dropout: an int64 number, read when the kernel runs
  int32_t code;
  int32_t left;
  int32_t right;
  int32_t stream;  // of dropout: tells the dropouts of one seed apart
  float a;
  float b;
  float c;
  int32_t unused;
};

struct MapArguments {
  MapLeaf leaves[kMapLeaves];
  MapInstruction instructions[kMapInstructions];
  float* y;   // [G][C][P][Q][L]; backward reads it only for sums over a pooled map, and may have null
  float* dy;  // dL/dy, read by the backward kernels
  float* middle;  // dL/d(register middle_register), written by map_backward_sums, perhaps where dy stands; or null
  int64_t y_group;
  int64_t dy_group;
  int64_t middle_group;
  int32_t middle_register;
  int32_t leaf_count;
  int32_t instruction_count;
  int32_t G;
  int32_t live;  // pictures in the last group
  int32_t C;
  int32_t H;
  int32_t W;
  int32_t pool;    // 0 none, 1 largest, 2 average, 3 average of the whole plane
  int32_t pool_h;  // size of the windows; 1 where there is no pooling
  int32_t pool_w;
};

struct MapParameterArguments {
  float* sums;            // [slots][C][2][L]
  float* scale_gradient;  // [C] or null: sums of dz x
  float* shift_gradient;  // [C] or null: sums of dz; of a parameter for all channels [1]
  int64_t sums_slot;
  int32_t slots;
  int32_t C;
  int32_t shared;  // whether the parameter is one for all channels
};
