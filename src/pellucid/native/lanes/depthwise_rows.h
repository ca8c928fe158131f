// Rows of one channel's map with zeros on both sides, so that no tap need ask whether it is inside the picture.
#pragma once

#include "scratch.h"
#include "vector.h"

namespace pellucid::lanes::PELLUCID_ISA {

// One pointer from which all of a block's addresses are constant distances.
PELLUCID_INLINE const float* Base(const float* p) {
  __asm__("" : "+r"(p));
  return p;
}

// The rows of a map that a kernel is at, copied to scratch memory as it goes down; each is copied once. Where a map needs
// no zeros its rows are read where they are.
struct PaddedRows {
  float* ring;         // [size][left + width + right][L], row h at h mod size
  const float* plane;  // [height][width][L]
  int32_t left, right, width, height, size, next;

  // Columns from `first` to `last` will be read, and `size` rows at a time.
  static PaddedRows Of(int slot, int32_t width, int32_t height, int64_t first, int64_t last, int32_t size) {
    PaddedRows rows{};
    rows.left = int32_t(Most(0, -first));
    rows.right = int32_t(Most(0, last - (width - 1)));
    rows.width = width;
    rows.height = height;
    rows.size = size;
    const int64_t floats = rows.Pitch() * size;
    rows.ring = pellucid_lanes_scratch(slot, floats);
    memset(rows.ring, 0, size_t(floats) * sizeof(float));
    return rows;
  }
  int64_t Pitch() const { return (int64_t(left) + width + right) * kLanes; }
  void Begin(const float* map) {
    plane = map;
    next = 0;
  }
  // Rows up to h can be read, and the size - 1 before it.
  void FillTo(int32_t h) {
    if (left == 0 && right == 0) return;
    for (; next <= h && next < height; next++) {
      const float* from = plane + int64_t(next) * width * kLanes;
      float* to = ring + next % size * Pitch() + left * kLanes;
      for (int64_t i = 0; i < width; i++) Store(to + i * kLanes, Load(from + i * kLanes));
    }
  }
  // Column 0 of row h.
  const float* At(int32_t h) const {
    if (left == 0 && right == 0) return plane + int64_t(h) * width * kLanes;
    return ring + h % size * Pitch() + left * kLanes;
  }
};

// A row of `count` numbers as blocks of nearly equal size, at most `most`: 14 are 7 and 7, not 8 and 6.
struct Blocks {
  int32_t size;    // of the wide ones; the narrow ones are 1 less
  int32_t wide;    // how many there are
  int32_t narrow;

  static Blocks Of(int32_t count, int32_t most) {
    const int32_t blocks = (count + most - 1) / most, size = (count + blocks - 1) / blocks;
    const int32_t narrow = blocks * size - count;
    return {size, blocks - narrow, narrow};
  }
};

}  // namespace pellucid::lanes::PELLUCID_ISA
