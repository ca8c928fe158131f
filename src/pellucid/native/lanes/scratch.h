// Memory that a kernel needs for itself while it runs: for each thread and slot a block that only grows.
#pragma once

#include <stdint.h>

constexpr int kScratchSlots = 8;

// At least `floats` floats, aligned to 64 bytes, with the contents of the last call. Slots are the kernel's own to choose:
// no kernel runs inside another.
extern "C" float* pellucid_lanes_scratch(int slot, int64_t floats);
