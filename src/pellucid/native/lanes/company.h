// What to do while another process holds a core that a worker needs.
//
// The pool's threads meet at the end of each region, and one that is held up makes the others wait for a time slice of
// the system, some milliseconds. So once a thread has waited longer than the work explains, the calling one goes on
// alone, for longer each time that this is seen again.
//
// Regions of PyTorch itself, an optimizer's, wait in the same way, and there GNU's pool stays awake for up to 15 ms: a
// worker without work holds the core that others wait for. It sleeps soon where it manages more threads than there are
// cores (GOMP_SPINCOUNT in its manual), and a second pool, of a thread that sleeps itself, makes it so meanwhile.
#pragma once

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include <atomic>

#include "../pellucid.h"

namespace {

inline double Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

class Company {
 public:
  // Whether to work alone.
  bool IsThere(double now) const { return now < alone_until_.load(std::memory_order_relaxed); }

  // A region of `units` on `workers` threads began, had nothing left for one of them, and ended.
  void Saw(double began, double done, double ended, int64_t units, int64_t workers, PellucidParallelFor parallel_for) {
    const double unit = (done - began) * double(workers) / double(units);
    const double until = alone_until_.load(std::memory_order_relaxed), period = period_.load(std::memory_order_relaxed);
    if (ended - done > kLate + 2 * unit) {
      const double longer = period == 0 ? kShortest : 4 * period < kLongest ? 4 * period : kLongest;
      period_.store(longer, std::memory_order_relaxed);
      alone_until_.store(ended + longer, std::memory_order_relaxed);
      if (longer >= kCertain) Crowd(parallel_for);
    } else if (period != 0 && ended > until + period) {
      period_.store(0, std::memory_order_relaxed);
      crowded_.store(0, std::memory_order_relaxed);
    }
  }

 private:
  static constexpr double kLate = 1e-3, kShortest = 16e-3, kCertain = 64e-3, kLongest = 0.5;  // seconds

  void Crowd(PellucidParallelFor parallel_for) {
    int32_t before = 0;
    if (!crowded_.compare_exchange_strong(before, 1)) return;
    parallel_for_ = parallel_for;
    pthread_t thread;
    if (pthread_create(&thread, nullptr, HaveAPool, this) == 0) pthread_detach(thread);
  }

  static void* HaveAPool(void* own) {
    Company& company = *static_cast<Company*>(own);
    company.parallel_for_.load()(0, 2, 1, [](int64_t, int64_t, void*) {}, nullptr);
    const timespec some{0, 20'000'000};
    while (company.crowded_.load() == 1) nanosleep(&some, nullptr);
    return nullptr;
  }

  std::atomic<double> alone_until_{0}, period_{0};
  std::atomic<int32_t> crowded_{0};
  std::atomic<PellucidParallelFor> parallel_for_{nullptr};
};

}  // namespace
