// What the processor can do, asked from the processor and the operating system, not from the compiler's flags.
#include "pellucid.h"

uint64_t pellucid_cpu_features();

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

namespace {

struct Registers {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers Cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

// Which register files the operating system saves (XCR0): bits 1-2 for AVX, 5-7 for AVX-512, 17-18 for AMX.
uint64_t SavedRegisters() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t(high) << 32) | low;
}

bool Has(uint32_t word, int bit) { return (word >> bit) & 1; }

}  // namespace

uint64_t pellucid_cpu_features() {
  uint64_t found = 0;
  const Registers one = Cpuid(1, 0), seven = Cpuid(7, 0);
  const Registers seven_one = seven.a >= 1 ? Cpuid(7, 1) : Registers{};  // leaf 7 says in a how many parts it has
  if (Has(one.c, 20)) found |= kPellucidSse42;
  if (!Has(one.c, 27)) return found;  // the system does not use XSAVE
  const uint64_t saved = SavedRegisters();
  if ((saved & 0x6) == 0x6) {
    if (Has(seven.b, 5)) found |= kPellucidAvx2;
    if (Has(one.c, 12)) found |= kPellucidFma;
  }
  if ((saved & 0xE6) == 0xE6 && Has(seven.b, 16)) {
    found |= kPellucidAvx512F;
    if (Has(seven.b, 30)) found |= kPellucidAvx512Bw;
    if (Has(seven.b, 17)) found |= kPellucidAvx512Dq;
    if (Has(seven.b, 31)) found |= kPellucidAvx512Vl;
    if (Has(seven_one.a, 5)) found |= kPellucidAvx512Bf16;
  }
  if ((saved & 0x60000) == 0x60000 && Has(seven.d, 22)) found |= kPellucidAmxBf16;
  return found;
}

#elif defined(__aarch64__)

uint64_t pellucid_cpu_features() { return kPellucidNeon; }  // every 64-bit Arm has it

#else

uint64_t pellucid_cpu_features() { return 0; }

#endif
