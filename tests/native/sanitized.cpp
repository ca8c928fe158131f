// The native library's functions under the address and undefined-behaviour sanitizers: built and run by test_native.py.
#include <bit>
#include <cfenv>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "pellucid.h"

namespace {

int failures = 0;

void Expect(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "failed: %s\n", what);
  ++failures;
}

// Whether denormal results become 0, told by the bits: a comparison would itself take a denormal operand as 0.
bool FlushesResults() {
  volatile float smallest_normal = 1.17549435e-38f;  // volatile: computed when it runs, not when it is compiled
  return std::bit_cast<uint32_t>(smallest_normal * 0.5f) == 0;
}

// Whether denormal operands are taken as 0; the product would be an ordinary number.
bool FlushesOperands() {
  volatile float denormal = std::bit_cast<float>(uint32_t{1} << 20);
  return std::bit_cast<uint32_t>(denormal * 1e10f) == 0;
}

bool Flushes() { return FlushesResults() && FlushesOperands(); }
bool Keeps() { return !FlushesResults() && !FlushesOperands(); }

int flushed = 0, called = 0;

// As libtorch's: every index in the range is done once, each here on a thread of its own.
int32_t ParallelFor(int64_t begin, int64_t end, int64_t, PellucidRange function, void* context) {
  for (int64_t i = begin; i < end; ++i) {
    std::thread([=] {
      std::fesetenv(FE_DFL_ENV);  // a thread inherits the mode of the one that started it; a pool's were there before
      Expect(Keeps(), "a thread has denormals at the start");
      function(i, i + 1, context);
      flushed += Flushes();
      ++called;
    }).join();
  }
  return 0;
}

int32_t NoThreads(int64_t, int64_t, int64_t, PellucidRange, void*) { return 1; }

}  // namespace

int main() {
  const PellucidInfo info = pellucid_info(), again = pellucid_info();
  Expect(info.abi == 2, "the interface is the second");
  Expect(std::strcmp(info.version, PELLUCID_VERSION) == 0, "the version is the package's");
  Expect(std::strlen(info.compiler) > 0, "the compiler is named");
  Expect(info.cpu_features == again.cpu_features, "the processor stays the same");
  Expect(info.cpu_features < (1ull << 10), "no bit without a meaning");

  Expect(Keeps(), "denormals are there at the start");
  const int32_t here = pellucid_flush_denormals(nullptr, 8);
#if defined(__SSE2__) || defined(__aarch64__)
  const bool can = true;
#else
  const bool can = false;
#endif
  Expect(here == (can ? 1 : 0), "one thread where there is no pool, none where the processor has no such mode");
  if (can) {
    Expect(Flushes(), "denormals are 0 on the calling thread");
    Expect(pellucid_flush_denormals(ParallelFor, 5) == 5, "five threads");
    Expect(called == 5 && flushed == 5, "denormals are 0 on each thread of the pool");
    Expect(pellucid_flush_denormals(ParallelFor, 1) == 1 && called == 5, "a pool of one is the calling thread");
    Expect(pellucid_flush_denormals(ParallelFor, 0) == 1 && called == 5, "no threads");
    Expect(pellucid_flush_denormals(ParallelFor, -3) == 1 && called == 5, "fewer than no threads");
    Expect(pellucid_flush_denormals(NoThreads, 4) == 1, "a pool that does nothing");
  }
  if (failures == 0) std::puts("all held");
  return failures == 0 ? 0 : 1;
}
