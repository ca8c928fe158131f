#include "pellucid.h"

uint64_t pellucid_cpu_features();

#if defined(__clang__)
#define PELLUCID_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define PELLUCID_COMPILER "gcc " __VERSION__
#else
#define PELLUCID_COMPILER "unknown"
#endif

PellucidInfo pellucid_info(void) {
  return PellucidInfo{2, PELLUCID_VERSION, PELLUCID_COMPILER, pellucid_cpu_features()};
}
