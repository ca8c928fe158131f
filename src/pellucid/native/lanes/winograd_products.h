// The products between Winograd's transforms: for each point, products[k][t] = sum over c of weights[k][c]
// points[c][t], t a tile (one vector). Tiles come in chunks of at most kMostTiles, kernels k in groups of 16 and blocks
// of 4:
//   weights  [group of k][point][block][Cp][4]    C rounded up to Cp = 4 n; kernels past K are 0
//   points   [point][C][tiles of the chunk], products [point][k][tiles of the chunk]
// A register block is 4 kernels x 4 to 6 tiles (more kernels where tiles are few): a weight is broadcast once and used
// for all tiles of the chunk, so that loads stay below one for two multiply-adds.
#pragma once

#include "winograd_ahead.h"
#include "winograd_transform.h"

namespace pellucid::lanes::PELLUCID_ISA {
namespace {

constexpr int kMostTiles = kLanes == 16 ? 6 : 3;
constexpr int kKernelGroup = 16, kKernelBlock = 4;
constexpr int kPackedKernels = 32;  // that one unit of a pack kernel writes

struct Product {
  const float* points;   // of the first of `inputs` channels
  const float* weights;  // of the first block and of the first of `inputs` channels
  const float* before;   // sums so far, or null: 0
  float* products;
  int64_t inputs;         // channels to sum over
  int64_t weight_block;   // floats from one block of kernels to the next
  int64_t blocks;         // of kernels
  Ahead* ahead;
};

// BLOCKS x 4 kernels x TILES.
template <int BLOCKS, int TILES>
PELLUCID_INLINE void MultiplyBlock(const Product& p, int64_t block) {
  constexpr int kKernels = BLOCKS * kKernelBlock;
  const float* weights = p.weights + block * p.weight_block;
  const float* points = p.points;
  const int64_t out = block * kKernelBlock * TILES * kLanes;
  Vector sum[kKernels][TILES] = {};
  if (p.before != nullptr) {
    PELLUCID_UNROLL(16)
    for (int k = 0; k < kKernels; k++) {
      PELLUCID_UNROLL(8)
      for (int t = 0; t < TILES; t++) sum[k][t] = Load(p.before + out + (k * TILES + t) * kLanes);
    }
  }
  const int64_t inputs = p.inputs, step = p.weight_block;
  for (int64_t c = 0; c < inputs; c += kLine / kKernelBlock) {  // the next block's, or the next point's
    PELLUCID_UNROLL(4)
    for (int b = 0; b < BLOCKS; b++) __builtin_prefetch(weights + (BLOCKS + b) * step + c * kKernelBlock);
  }
  for (int64_t c = 0; c < inputs; c++, weights += kKernelBlock, points += TILES * kLanes) {
    Vector x[TILES];
    PELLUCID_UNROLL(8)
    for (int t = 0; t < TILES; t++) x[t] = Load(points + t * kLanes);
    PELLUCID_UNROLL(16)
    for (int k = 0; k < kKernels; k++) {
      const Vector w = InRegister(weights[k / kKernelBlock * step + k % kKernelBlock]);
      PELLUCID_UNROLL(8)
      for (int t = 0; t < TILES; t++) sum[k][t] += x[t] * w;
    }
  }
  float* products = p.products + out;
  PELLUCID_UNROLL(16)
  for (int k = 0; k < kKernels; k++) {
    PELLUCID_UNROLL(8)
    for (int t = 0; t < TILES; t++) Store(products + (k * TILES + t) * kLanes, sum[k][t]);
  }
}

template <int TILES>
PELLUCID_INLINE void MultiplyTiles(const Product& p) {
  constexpr int kMany = kLanes == 16 ? (TILES == 1 ? 4 : TILES == 2 ? 3 : TILES == 3 ? 2 : 1) : (TILES == 1 ? 2 : 1);
  int64_t block = 0;
  for (; block + kMany <= p.blocks; block += kMany) {
    p.ahead->Step();
    MultiplyBlock<kMany, TILES>(p, block);
  }
  for (; block < p.blocks; block++) {
    p.ahead->Step();
    MultiplyBlock<1, TILES>(p, block);
  }
}

[[maybe_unused]] __attribute__((noinline)) void Multiply(const Product& p, int64_t tiles) {
  switch (tiles) {
    case 1: return MultiplyTiles<1>(p);
    case 2: return MultiplyTiles<2>(p);
    case 3: return MultiplyTiles<3>(p);
#if PELLUCID_LANES == 16
    case 4: return MultiplyTiles<4>(p);
    case 5: return MultiplyTiles<5>(p);
    default: return MultiplyTiles<6>(p);
#endif
  }
}

}  // namespace
}  // namespace pellucid::lanes::PELLUCID_ISA
