// To and from the layout of lanes, sums over slots, and filling.
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

// Lane l of a group holds picture group * kLanes + l; past the end the last picture is repeated.
PELLUCID_INLINE const float* Picture(const LayoutArguments& a, int64_t group, int lane) {
  return a.plain + Least(group * kLanes + lane, a.N - 1) * a.M;
}

PELLUCID_INLINE void Put(float* at, Vector v, int32_t accumulate) { Store(at, accumulate ? Load(at) + v : v); }

}  // namespace

// By groups: lanes[g][m][l] = or += plain[g L + l][m].
void ToLanes(const void* arguments, const PellucidUnits* range) {
  const LayoutArguments& a = *static_cast<const LayoutArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++) {
    float* out = a.lanes + g * a.lanes_group;
    const float* in[kLanes];
    for (int l = 0; l < kLanes; l++) in[l] = Picture(a, g, l);
    const Integers counted = a.is_gradient ? LiveLanes(int(a.N - g * kLanes)) : Integers{} == 0;
    int64_t m = 0;
    for (; m + kLanes <= a.M; m += kLanes) {
      Vector r[kLanes];
      for (int l = 0; l < kLanes; l++) memcpy(&r[l], in[l] + m, sizeof(Vector));
      Transpose(r);
      for (int l = 0; l < kLanes; l++) Put(out + (m + l) * kLanes, Select(counted, r[l], Vector{}), a.accumulate);
    }
    for (; m < a.M; m++) {
      Vector r;
      for (int l = 0; l < kLanes; l++) r[l] = in[l][m];
      Put(out + m * kLanes, Select(counted, r, Vector{}), a.accumulate);
    }
  }
}

// By groups: plain[g L + l][m] = or += lanes[g][m][l], for pictures that exist.
void FromLanes(const void* arguments, const PellucidUnits* range) {
  const LayoutArguments& a = *static_cast<const LayoutArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++) {
    const float* in = a.lanes + g * a.lanes_group;
    const int live = int(Least(kLanes, a.N - g * kLanes));
    float* out = a.plain + g * kLanes * a.M;
    int64_t m = 0;
    for (; m + kLanes <= a.M; m += kLanes) {
      Vector r[kLanes];
      for (int l = 0; l < kLanes; l++) r[l] = Load(in + (m + l) * kLanes);
      Transpose(r);
      for (int l = 0; l < live; l++) {
        Vector before{};
        if (a.accumulate) memcpy(&before, out + l * a.M + m, sizeof(Vector));
        before += r[l];
        memcpy(out + l * a.M + m, &before, sizeof(Vector));
      }
    }
    for (; m < a.M; m++)
      for (int l = 0; l < live; l++) out[l * a.M + m] = in[m * kLanes + l] + (a.accumulate ? out[l * a.M + m] : 0.0f);
  }
}

// Units: blocks of 4096 numbers. result[i] = sum over the slots, in their order.
void SumSlots(const void* arguments, const PellucidUnits* range) {
  const SumArguments& a = *static_cast<const SumArguments*>(arguments);
  const int64_t end = Least(a.n, range->end * 4096);
  for (int64_t i = range->begin * 4096; i < end; i++) {
    float sum = a.parts[i];
    for (int32_t s = 1; s < a.slots; s++) sum += a.parts[s * a.slot_floats + i];
    a.result[i] = sum;
  }
}

// By groups.
void Fill(const void* arguments, const PellucidUnits* range) {
  const FillArguments& a = *static_cast<const FillArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++)
    for (int64_t i = 0; i < a.n; i++) a.lanes[g * a.lanes_group + i] = a.number;
}

}  // namespace pellucid::lanes::PELLUCID_ISA
