// One vector is the same pixel and channel of kLanes pictures. GCC's and clang's vector extensions alone: the same source
// serves AVX-512 (16 lanes), AVX2 (8) and what every processor has (4: SSE2 or NEON). acc + x * w becomes one fused
// multiply-add where the target has it (-ffp-contract=fast).
//
// PELLUCID_ISA names the target and PELLUCID_LANES its width; the build compiles each kernel file once for each target.
// Everything here has internal linkage: a function compiled for AVX-512 must never be linked into another target's code.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PELLUCID_INLINE static inline __attribute__((always_inline))
#define PELLUCID_UNROLL(n) _Pragma(PELLUCID_TEXT(GCC unroll n))
#define PELLUCID_TEXT(x) #x

namespace pellucid::lanes::PELLUCID_ISA {

constexpr int kLanes = PELLUCID_LANES;
typedef float Vector __attribute__((vector_size(PELLUCID_LANES * 4), aligned(PELLUCID_LANES * 4), may_alias));
typedef int32_t Integers __attribute__((vector_size(PELLUCID_LANES * 4), aligned(PELLUCID_LANES * 4), may_alias));

PELLUCID_INLINE Vector Load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
PELLUCID_INLINE void Store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }
PELLUCID_INLINE Vector Splat(float s) { return s - Vector{}; }  // (0 + s would be an addition: -0 + 0 is not -0)
PELLUCID_INLINE Vector Select(Integers mask, Vector a, Vector b) { return mask ? a : b; }

// NaN wins, as in PyTorch's max and relu.
PELLUCID_INLINE Vector Max(Vector a, Vector b) { return (a > b) | (a != a) ? a : b; }

// What many multiply-adds use, as a register: without this the compiler reads it from memory again for each, and loads
// become the bottleneck where a core has two multiply-adds a cycle.
PELLUCID_INLINE Vector Kept(Vector v) {
#if defined(__x86_64__)
  __asm__("" : "+v"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#endif
  return v;
}
PELLUCID_INLINE Vector InRegister(float s) { return Kept(Splat(s)); }
PELLUCID_INLINE Vector LoadOnce(const float* p) { return Kept(Load(p)); }

PELLUCID_INLINE float Sum(Vector v) {  // over the lanes, pairwise, in a fixed order
  float s[kLanes];
  memcpy(s, &v, sizeof s);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) s[i] += s[i + width];
  return s[0];
}

// Lanes of pictures that exist: in the last group of a batch the others repeat a picture, so that they hold ordinary
// numbers, and take no part in sums over the batch.
PELLUCID_INLINE Integers LiveLanes(int live) {
  Integers index;
  for (int i = 0; i < kLanes; i++) index[i] = i;
  return index < live;
}

#define PELLUCID_SHUFFLE __builtin_shufflevector

#if PELLUCID_LANES == 16
#define PELLUCID_STEP(s, ...) \
  PELLUCID_UNROLL(16) for (int i = 0; i < 16; i++) if (!(i & s)) { Vector a = r[i], b = r[i + s]; __VA_ARGS__ }
PELLUCID_INLINE void Transpose(Vector* r) {  // 16 x 16, in steps of 8, 4, 2, 1
  PELLUCID_STEP(8, r[i] = PELLUCID_SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
                r[i + 8] = PELLUCID_SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);)
  PELLUCID_STEP(4, r[i] = PELLUCID_SHUFFLE(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
                r[i + 4] = PELLUCID_SHUFFLE(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);)
  PELLUCID_STEP(2, r[i] = PELLUCID_SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
                r[i + 2] = PELLUCID_SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);)
  PELLUCID_STEP(1, r[i] = PELLUCID_SHUFFLE(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
                r[i + 1] = PELLUCID_SHUFFLE(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);)
}
// What is left of the sums over the lanes of a[0..15] once b[i] holds, half by half, a[i] and a[i + 8] folded once.
PELLUCID_INLINE Vector LaneSumsOfFolded(const Vector* b) {
  Vector c[4], d[2];
  PELLUCID_UNROLL(4)
  for (int i = 0; i < 4; i++)
    c[i] = PELLUCID_SHUFFLE(b[i], b[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
           PELLUCID_SHUFFLE(b[i], b[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  PELLUCID_UNROLL(2)
  for (int i = 0; i < 2; i++)
    d[i] = PELLUCID_SHUFFLE(c[i], c[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           PELLUCID_SHUFFLE(c[i], c[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  return PELLUCID_SHUFFLE(d[0], d[1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
         PELLUCID_SHUFFLE(d[0], d[1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
}
// Lane i of the result is the sum over the lanes of a[i], for 16 vectors: 30 shuffles and 15 additions.
PELLUCID_INLINE Vector LaneSums(const Vector* a) {
  Vector b[8];
  PELLUCID_UNROLL(8)
  for (int i = 0; i < 8; i++)
    b[i] = PELLUCID_SHUFFLE(a[i], a[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           PELLUCID_SHUFFLE(a[i], a[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  return LaneSumsOfFolded(b);
}
#undef PELLUCID_STEP
#else
PELLUCID_INLINE void Transpose(Vector* r) {
  for (int i = 0; i < kLanes; i++)
    for (int j = 0; j < i; j++) {
      const float t = r[i][j];
      r[i][j] = r[j][i];
      r[j][i] = t;
    }
}
PELLUCID_INLINE Vector LaneSums(const Vector* a) {
  Vector sums{};
  for (int i = 0; i < kLanes; i++) sums[i] = Sum(a[i]);
  return sums;
}
#endif

PELLUCID_INLINE int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }
PELLUCID_INLINE int64_t Most(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace pellucid::lanes::PELLUCID_ISA
