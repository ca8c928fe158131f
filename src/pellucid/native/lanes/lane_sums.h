// Sums over the lanes of many vectors, into partial sums of a slot.
#pragma once

#include "vector.h"

namespace pellucid::lanes::PELLUCID_ISA {

// sums[i] = (first) or += the sum over the live lanes of vectors[i], for i in [0, n).
PELLUCID_INLINE void StoreLaneSums(const float* vectors, int64_t n, Integers live, bool first, float* sums) {
  Vector some[kLanes];
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t count = Least(kLanes, n - i);
    for (int64_t j = 0; j < kLanes; j++)
      some[j] = j < count ? Select(live, Load(vectors + (i + j) * kLanes), Vector{}) : Vector{};
    const Vector totals = LaneSums(some);
    for (int64_t j = 0; j < count; j++) sums[i + j] = first ? totals[j] : sums[i + j] + totals[j];
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
