// What runs: a list of steps. A step is a kernel and its arguments; kernels are pointers and sizes in, nothing out.
#pragma once

#include <stdint.h>

#include "../pellucid.h"

// Which part of a step's work to do. For a step by groups the units are groups of lanes, one at a time; for others they
// are what the kernel says. `slot`: groups are dealt to a fixed number of slots, so that sums over the batch are taken in
// the same order for any number of threads; `first`: whether this is the slot's first group, where its sums begin at 0.
// `thread`: of the pool, from 0.
struct PellucidUnits {
  int64_t begin, end;
  int32_t slot;
  int32_t first;
  int32_t thread;
};

typedef void (*PellucidKernel)(const void* arguments, const PellucidUnits* range);

// How a step is run. Consecutive steps by groups are run group by group, all of them for one group before the next. One
// that is done alone is too small for threads: waking them, and waiting for one that another process holds up, costs more.
enum PellucidOrder : int32_t { kPellucidByUnits = 0, kPellucidByGroups = 1, kPellucidAlone = 2 };

struct PellucidStep {
  int32_t kernel;     // its place in kernels.list
  int32_t order;      // PellucidOrder
  int64_t units;      // of a step that is not by groups
  int64_t arguments;  // where they begin in the block of arguments, in bytes
};

// A pointer among the arguments: bases[base] + offset, and for thread-local memory + thread * local_bytes.
struct PellucidPointer {
  int64_t field;  // where it stands in the block of arguments, in bytes
  int32_t base;
  int32_t local;
  int64_t offset;  // bytes
};

struct PellucidRun {
  int32_t target;   // index of the instruction set
  int32_t threads;  // of the pool
  PellucidParallelFor parallel_for;
  const struct PellucidStep* steps;
  int64_t step_count;
  char* arguments;         // one block for each thread, `arguments_bytes` apart
  int64_t arguments_bytes;
  int32_t groups;  // of lanes
  int32_t slots;
  double* seconds;  // [threads][step_count], added to; null for no timing
};

// The instruction sets that this library was built for, best first: name, lanes, and whether this machine has it.
PELLUCID_EXPORT int32_t pellucid_lanes_targets(void);
PELLUCID_EXPORT const char* pellucid_lanes_target_name(int32_t target);
PELLUCID_EXPORT int32_t pellucid_lanes_target_lanes(int32_t target);
PELLUCID_EXPORT int32_t pellucid_lanes_target_usable(int32_t target);

// The kernels by name, the size of their arguments, and how many there are.
PELLUCID_EXPORT int32_t pellucid_lanes_kernels(void);
PELLUCID_EXPORT const char* pellucid_lanes_kernel_name(int32_t kernel);
PELLUCID_EXPORT int64_t pellucid_lanes_kernel_arguments(int32_t kernel);

// Fill in the pointers of all threads' blocks of arguments.
PELLUCID_EXPORT void pellucid_lanes_bind(const struct PellucidRun* run, const struct PellucidPointer* pointers,
                                         int64_t count, char* const* bases, int64_t local_bytes);

// Run all steps in order. Denormals are flushed meanwhile; the threads' modes are put back.
PELLUCID_EXPORT void pellucid_lanes_run(const struct PellucidRun* run);

// Memory for an arena, on large pages where the system has them; null where there is none.
PELLUCID_EXPORT void* pellucid_lanes_allocate(int64_t bytes);
PELLUCID_EXPORT void pellucid_lanes_release(void* memory, int64_t bytes);
