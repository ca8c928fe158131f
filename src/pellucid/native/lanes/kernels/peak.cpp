// The processor's peak of multiply-adds: what every other kernel is measured against.
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

// Units: any. Each does a <- a m + b in kPeakAccumulators independent vectors, `repeats` times: no memory, and enough
// independent sums to hide the latency of two multiply-adds a cycle. FLOPs: units repeats kPeakAccumulators kLanes 2.
// With 4 lanes there may be 16 registers: 12 accumulators twice.
void FmaPeak(const void* arguments, const PellucidUnits* units) {
  const PeakArguments& a = *static_cast<const PeakArguments*>(arguments);
  constexpr int kTogether = kLanes == 16 ? kPeakAccumulators : kPeakAccumulators / 2;
  const Vector m = InRegister(0.999f), b = InRegister(0.001f);
  for (int64_t unit = units->begin; unit < units->end; unit++) {
    Vector sums[kTogether], total{};
    PELLUCID_UNROLL(24) for (int i = 0; i < kTogether; i++) sums[i] = InRegister(float(i) * 0.1f);
    for (int64_t repeat = 0; repeat < a.repeats * (kPeakAccumulators / kTogether); repeat++)
      PELLUCID_UNROLL(24) for (int i = 0; i < kTogether; i++) sums[i] = sums[i] * m + b;
    PELLUCID_UNROLL(24) for (int i = 0; i < kTogether; i++) total += sums[i];
    a.result[unit] = Sum(total);
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
