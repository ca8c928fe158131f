// The executor: steps in order, on the threads of PyTorch's own pool.
//
// Consecutive steps by groups are one region without a barrier inside: a thread takes a slot of groups and does all the
// region's steps for one group before the next, so that what a step leaves is still in the cache for the one after it.
// Units are claimed from a counter, not dealt beforehand: a thread that another process holds up delays one unit only.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <atomic>

#include "arguments.h"
#include "company.h"
#include "scratch.h"
#include "step.h"

uint64_t pellucid_cpu_features();

namespace pellucid::lanes {
#if defined(PELLUCID_HAS_AVX512)
namespace avx512 { extern const PellucidKernel kKernels[]; }
#endif
#if defined(PELLUCID_HAS_AVX2)
namespace avx2 { extern const PellucidKernel kKernels[]; }
#endif
namespace portable { extern const PellucidKernel kKernels[]; }
}  // namespace pellucid::lanes

namespace {

struct Target {
  const char* name;
  int32_t lanes;
  uint64_t needs;
  const PellucidKernel* kernels;
};

[[maybe_unused]] constexpr uint64_t kAvx512 =
    kPellucidAvx512F | kPellucidAvx512Bw | kPellucidAvx512Dq | kPellucidAvx512Vl | kPellucidFma;

const Target kTargets[] = {
#if defined(PELLUCID_HAS_AVX512)
    {"avx512", 16, kAvx512, pellucid::lanes::avx512::kKernels},
#endif
#if defined(PELLUCID_HAS_AVX2)
    {"avx2", 8, kPellucidAvx2 | kPellucidFma, pellucid::lanes::avx2::kKernels},
#endif
    {"portable", 4, 0, pellucid::lanes::portable::kKernels},
};
constexpr int32_t kTargetCount = sizeof kTargets / sizeof kTargets[0];

struct Entry {
  const char* name;
  int64_t arguments;
};

const Entry kEntries[] = {
#define KERNEL(function, name, arguments) {#name, sizeof(arguments)},
#include "kernels.list"
#undef KERNEL
};
constexpr int32_t kEntryCount = sizeof kEntries / sizeof kEntries[0];

// Denormal numbers cost a hundred cycles each and mean nothing here; the thread's own mode is put back afterwards.
struct DenormalsFlushed {
#if defined(__SSE2__)
  unsigned mode = __builtin_ia32_stmxcsr();
  DenormalsFlushed() { __builtin_ia32_ldmxcsr(mode | 0x8040); }
  ~DenormalsFlushed() { __builtin_ia32_ldmxcsr(mode); }
#elif defined(__aarch64__)
  uint64_t mode;
  DenormalsFlushed() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode | (1ull << 24)));
  }
  ~DenormalsFlushed() { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#endif
};

struct Region {
  const PellucidRun* run;
  int64_t first, last;  // steps
  int64_t units;
  std::atomic<int64_t> next{0};
  std::atomic<double> done{0};  // when the first thread found nothing left to do
};

void Call(const Region& region, int64_t step, const PellucidUnits& range) {
  const PellucidRun& run = *region.run;
  const PellucidStep& s = run.steps[step];
  const char* arguments = run.arguments + range.thread * run.arguments_bytes + s.arguments;
  const double began = run.seconds ? Now() : 0;
  kTargets[run.target].kernels[s.kernel](arguments, &range);
  if (run.seconds) run.seconds[range.thread * run.step_count + step] += Now() - began;
}

void DoSlot(const Region& region, int64_t slot, int32_t thread) {
  const int64_t groups = region.run->groups, slots = region.run->slots;
  const int64_t begin = groups * slot / slots, end = groups * (slot + 1) / slots;
  for (int64_t g = begin; g < end; g++)
    for (int64_t step = region.first; step < region.last; step++)
      Call(region, step, PellucidUnits{g, g + 1, int32_t(slot), g == begin, thread});
}

void Work(int64_t begin, int64_t end, void* context) {
  Region& region = *static_cast<Region*>(context);
  DenormalsFlushed flushed;
  const bool by_groups = region.run->steps[region.first].order == kPellucidByGroups;
  for (int64_t thread = begin; thread < end; thread++)
    for (int64_t unit; (unit = region.next.fetch_add(1, std::memory_order_relaxed)) < region.units;) {
      if (by_groups)
        DoSlot(region, unit, int32_t(thread));
      else
        Call(region, region.first, PellucidUnits{unit, unit + 1, 0, unit == 0, int32_t(thread)});
    }
  double before = 0;
  region.done.compare_exchange_strong(before, Now(), std::memory_order_relaxed);
}

int64_t Workers(const PellucidRun& run, int64_t units) { return units < run.threads ? units : run.threads; }

struct Scratch {
  float* block[kScratchSlots] = {};
  int64_t floats[kScratchSlots] = {};
  ~Scratch() {
    for (float* b : block) free(b);
  }
};
thread_local Scratch scratch;

constexpr int64_t kLargePage = 2 << 20;

// On large pages from `least` bytes on.
void* Aligned(int64_t bytes, int64_t least) {
  const int64_t page = bytes >= least ? kLargePage : 64;
  void* memory = aligned_alloc(size_t(page), size_t((bytes + page - 1) / page * page));
#if defined(MADV_HUGEPAGE)
  if (memory != nullptr && page == kLargePage) madvise(memory, size_t((bytes + page - 1) / page * page), MADV_HUGEPAGE);
#endif
  return memory;
}

int64_t WholePages(int64_t bytes) { return (bytes + kLargePage - 1) / kLargePage * kLargePage; }

// Straight from the system, so that it goes back to it: what malloc is given back it may keep, some 30 MB at a time.
void* Mapped(int64_t bytes) {
  const int64_t size = WholePages(bytes);
  void* found = mmap(nullptr, size_t(size + kLargePage), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (found == MAP_FAILED) return nullptr;
  char* start = static_cast<char*>(found);
  const int64_t before = -reinterpret_cast<intptr_t>(start) & (kLargePage - 1);  // up to the next large page
  if (before > 0) munmap(start, size_t(before));
  munmap(start + before + size, size_t(kLargePage - before));
#if defined(MADV_HUGEPAGE)
  madvise(start + before, size_t(size), MADV_HUGEPAGE);
#endif
  return start + before;
}

Company company;

}  // namespace

extern "C" float* pellucid_lanes_scratch(int slot, int64_t floats) {
  if (scratch.floats[slot] < floats) {
    free(scratch.block[slot]);
    scratch.block[slot] = static_cast<float*>(Aligned(floats * 4, kLargePage / 4));
    if (scratch.block[slot] == nullptr) abort();  // as the system itself does, a page later
    scratch.floats[slot] = floats;
  }
  return scratch.block[slot];
}

int32_t pellucid_lanes_targets(void) { return kTargetCount; }
const char* pellucid_lanes_target_name(int32_t target) { return kTargets[target].name; }
int32_t pellucid_lanes_target_lanes(int32_t target) { return kTargets[target].lanes; }
int32_t pellucid_lanes_target_usable(int32_t target) {
  return (pellucid_cpu_features() & kTargets[target].needs) == kTargets[target].needs;
}
int32_t pellucid_lanes_kernels(void) { return kEntryCount; }
const char* pellucid_lanes_kernel_name(int32_t kernel) { return kEntries[kernel].name; }
int64_t pellucid_lanes_kernel_arguments(int32_t kernel) { return kEntries[kernel].arguments; }

void pellucid_lanes_bind(const PellucidRun* run, const PellucidPointer* pointers, int64_t count, char* const* bases,
                         int64_t local_bytes) {
  for (int32_t thread = 0; thread < run->threads; thread++) {
    char* block = run->arguments + thread * run->arguments_bytes;
    for (int64_t i = 0; i < count; i++) {
      const PellucidPointer& p = pointers[i];
      char* address = bases[p.base] + p.offset + (p.local ? thread * local_bytes : 0);
      memcpy(block + p.field, &address, sizeof address);
    }
  }
}

void pellucid_lanes_run(const PellucidRun* run) {
  for (int64_t step = 0; step < run->step_count;) {
    Region region{run, step, step + 1, run->steps[step].units};
    if (run->steps[step].order == kPellucidAlone) {
      DenormalsFlushed flushed;
      Call(region, step++, PellucidUnits{0, region.units, 0, 1, 0});
      continue;
    }
    if (run->steps[step].order == kPellucidByGroups) {
      while (region.last < run->step_count && run->steps[region.last].order == kPellucidByGroups) region.last++;
      region.units = run->slots;
    }
    const int64_t workers = Workers(*run, region.units);
    const double began = Now();
    if (workers > 1 && run->parallel_for != nullptr && !company.IsThere(began)) {
      run->parallel_for(0, workers, 1, Work, &region);
      company.Saw(began, region.done, Now(), region.units, workers, run->parallel_for);
    } else {
      Work(0, 1, &region);
    }
    step = region.last;
  }
}

void* pellucid_lanes_allocate(int64_t bytes) {
  return bytes >= kLargePage ? Mapped(bytes) : Aligned(bytes, kLargePage);
}
void pellucid_lanes_release(void* memory, int64_t bytes) {
  if (bytes >= kLargePage)
    munmap(memory, size_t(WholePages(bytes)));
  else
    free(memory);
}
