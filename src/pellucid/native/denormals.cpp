// Denormal numbers (below 2^-126) cost a hundred cycles each and mean nothing in training: they are made 0.
// The mode belongs to a thread, so it has to be set on each thread of the pool.
#include <atomic>

#include "pellucid.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace {

bool FlushOnThisThread() {
#if defined(__SSE2__)
  _mm_setcsr(_mm_getcsr() | 0x8040);  // flush results to zero (bit 15), take operands as zero (bit 6)
  return true;
#elif defined(__aarch64__)
  uint64_t control;
  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  __asm__ volatile("msr fpcr, %0" : : "r"(control | (1ull << 24)));
  return true;
#else
  return false;
#endif
}

void OnRange(int64_t, int64_t, void* context) {
  if (FlushOnThisThread()) static_cast<std::atomic<int32_t>*>(context)->fetch_add(1);
}

}  // namespace

int32_t pellucid_flush_denormals(PellucidParallelFor parallel_for, int64_t threads) {
  if (!FlushOnThisThread()) return 0;
  std::atomic<int32_t> set{0};
  if (parallel_for != nullptr && threads > 1) parallel_for(0, threads, 1, OnRange, &set);
  return set.load() > 0 ? set.load() : 1;
}
