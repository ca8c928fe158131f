// The plain C interface of Pellucid's native library. No exception crosses it; nothing here allocates.
#pragma once

#include <stdint.h>

#if defined(__GNUC__)
#define PELLUCID_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define PELLUCID_EXPORT extern "C"
#endif

// Bits of PellucidInfo::cpu_features. A bit is set only where the operating system saves the registers too.
enum PellucidCpuFeature : uint64_t {
  kPellucidSse42 = 1ull << 0,
  kPellucidAvx2 = 1ull << 1,
  kPellucidFma = 1ull << 2,
  kPellucidAvx512F = 1ull << 3,
  kPellucidAvx512Bw = 1ull << 4,
  kPellucidAvx512Dq = 1ull << 5,
  kPellucidAvx512Vl = 1ull << 6,
  kPellucidAvx512Bf16 = 1ull << 7,
  kPellucidAmxBf16 = 1ull << 8,
  kPellucidNeon = 1ull << 9,
};

struct PellucidInfo {
  uint32_t abi;           // changes when this file does in a way that matters to a caller
  const char* version;    // of the package that the library was built from
  const char* compiler;   // name and version
  uint64_t cpu_features;  // of the machine it runs on
};

// Version, compiler and the features of this machine's processor. The strings live as long as the library.
PELLUCID_EXPORT PellucidInfo pellucid_info(void);

// torch_parallel_for of libtorch (torch/csrc/stable/c/shim.h): calls function(begin, end, context) on its pool's threads.
typedef void (*PellucidRange)(int64_t begin, int64_t end, void* context);
typedef int32_t (*PellucidParallelFor)(int64_t begin, int64_t end, int64_t grain, PellucidRange function, void* context);

// Results and operands below 2^-126 become 0 on the calling thread and on `threads` threads of the pool behind
// `parallel_for`, which may be null. Returns on how many of the calls the mode was set, 0 where the processor has none.
PELLUCID_EXPORT int32_t pellucid_flush_denormals(PellucidParallelFor parallel_for, int64_t threads);
