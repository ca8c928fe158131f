// The arguments of the kernel that measures what the processor can do. (Parsed by lanes/arguments.py.)
#pragma once

#include <stdint.h>

struct PeakArguments {
  float* result;    // [units], so that the work is not left out
  int64_t repeats;  // of one multiply-add in each of kPeakAccumulators vectors
};

constexpr int kPeakAccumulators = 24;
