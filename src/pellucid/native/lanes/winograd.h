// The arguments of every kernel of Winograd's convolution: 3x3, stride 1, no dilation. (Parsed by lanes/arguments.py.)
//
// Letters and passes as in convolution.h. A tile is `tile` x `tile` numbers of an output, computed from a picture's
// (tile + 2) x (tile + 2); it takes A A = (tile + 2)^2 products, the points. T is the tiles of all groups.
#pragma once

#include <stdint.h>

struct WinogradArguments {
  float* x;           // [G][C][H][W][L], groups x_group floats apart
  float* y;           // [G][K][P][Q][L], groups y_group floats apart
  float* w;           // [K][C][3][3], as PyTorch has it; the weight gradient's finish writes dL/dw here
  float* bias;        // [K] or null; of a weight gradient parts of dL/dbias [part_count][K] or null
  float* packed;      // the transformed weights
  float* statistics;  // [G][K][3][L] or null, as in convolution.h
  float* points;      // wide: the transformed input
  float* products;    // wide: the products; of a weight gradient the transformed dL/dy
  float* parts;       // weight gradient: [part_count][A A][K][C rounded up to L], sums over the parts of the batch
  int64_t x_group;
  int64_t y_group;
  int32_t G;
  int32_t live;  // pictures in the last group
  int32_t C;
  int32_t H;
  int32_t W;
  int32_t K;
  int32_t P;
  int32_t Q;
  int32_t pad_h;  // before
  int32_t pad_w;
  int32_t accumulate;   // whether x (input's gradient) or parts (wide weight's gradient) are added to, not written
  int32_t tile;         // 4 or 2
  int32_t first_group;  // wide: the first of the groups to do
  int32_t group_count;  // wide: how many
  int32_t is_gradient;  // wide: whether dL/dx is computed from dL/dy, not y from x
  int32_t part_count;   // weight gradient: parts of the batch
  int32_t row_sets;     // weight gradient: pairs of rows of points in one unit: all (0) or one (1)
  int32_t block;        // weight gradient and wide: kernels k of one unit; 0: all
};
