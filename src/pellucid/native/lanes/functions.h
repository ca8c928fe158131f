// Functions of a vector: exp, log, tanh and what follows from them, relative error at most 3e-7 (away from denormals,
// which are 0). NaN stays NaN, infinities give what PyTorch gives. Polynomials are minimax fits of the relative error.
#pragma once

#include "vector.h"

namespace pellucid::lanes::PELLUCID_ISA {

// Integers whose sums wrap around: those of a NaN's bits do.
typedef uint32_t Unsigned __attribute__((vector_size(PELLUCID_LANES * 4), aligned(PELLUCID_LANES * 4), may_alias));

PELLUCID_INLINE Unsigned Wrapping(Integers v) { return reinterpret_cast<Unsigned>(v); }
PELLUCID_INLINE Integers Signed(Unsigned v) { return reinterpret_cast<Integers>(v); }
PELLUCID_INLINE Integers Bits(Vector v) { return reinterpret_cast<Integers>(v); }
PELLUCID_INLINE Vector FromBits(Integers v) { return reinterpret_cast<Vector>(v); }
PELLUCID_INLINE Vector Absolute(Vector x) { return FromBits(Bits(x) & 0x7fffffff); }
PELLUCID_INLINE Vector WithSign(Vector magnitude, Vector sign) {
  return FromBits(Bits(magnitude) | (Bits(sign) & INT32_MIN));
}
PELLUCID_INLINE Vector Min(Vector a, Vector b) { return (a < b) | (a != a) ? a : b; }  // NaN wins

// The number in x, or the bound where x is beyond it; NaN passes.
PELLUCID_INLINE Vector AtMost(Vector x, float most) {
#if PELLUCID_LANES == 16  // one instruction: of two unordered numbers it gives the second
  return __builtin_ia32_minps512_mask(Splat(most), x, Vector{}, uint16_t(-1), 4);
#else
  return x > most ? Splat(most) : x;
#endif
}
PELLUCID_INLINE Vector AtLeast(Vector x, float least) {
#if PELLUCID_LANES == 16
  return __builtin_ia32_maxps512_mask(Splat(least), x, Vector{}, uint16_t(-1), 4);
#else
  return x < least ? Splat(least) : x;
#endif
}

PELLUCID_INLINE Vector SquareRoot(Vector x) {
  Vector root;
  for (int i = 0; i < kLanes; i++) root[i] = __builtin_sqrtf(x[i]);
  return root;
}

// 1 / x for 1 <= x <= 2^126
PELLUCID_INLINE Vector Reciprocal(Vector x) {
#if PELLUCID_LANES == 16  // a division takes ten cycles or more: an estimate of 14 bits, then one step of Newton's
  const Vector y = __builtin_ia32_rcp14ps512_mask(x, Vector{}, uint16_t(-1));
  return y + y * (1.0f - x * y);
#else
  return 1.0f / x;
#endif
}

// x = n ln 2 + r with |r| <= ln 2 / 2; n is found by adding and taking away 1.5 * 2^23.
struct Reduced {
  Integers n;
  Vector r;
};
PELLUCID_INLINE Reduced ReduceByLn2(Vector x) {
  const Vector magic = Splat(12582912.0f);
  const Vector shifted = x * 1.44269504f + magic;
  const Vector n = shifted - magic;
  return {Signed(Wrapping(Bits(shifted)) - Wrapping(Bits(magic))), (x - n * 0.693359375f) - n * -2.12194440e-4f};
}
// exp(r) - 1 for |r| <= ln 2 / 2
PELLUCID_INLINE Vector ExpMinus1Small(Vector r) {
  const Vector q = (((r * 0.0013901306f + 0.0083632001f) * r + 0.0416668541f) * r + 0.1666657696f) * r + 0.4999999955f;
  return r * r * q + r;
}
PELLUCID_INLINE Vector PowerOf2(Integers n) { return FromBits(Signed((Wrapping(n) + 127u) << 23)); }

PELLUCID_INLINE Vector Exp(Vector x) {
  const Reduced t = ReduceByLn2(AtLeast(AtMost(x, 89.0f), -104.0f));
  const Integers half = t.n >> 1;
  return (ExpMinus1Small(t.r) + 1.0f) * PowerOf2(half) * PowerOf2(Signed(Wrapping(t.n) - Wrapping(half)));
}

// exp(x) for x where 2^n is an ordinary number; less work. NaN passes.
PELLUCID_INLINE Vector ExpWithin(Vector x, float low, float high) {
  const Reduced t = ReduceByLn2(AtLeast(AtMost(x, high), low));
  return (ExpMinus1Small(t.r) + 1.0f) * PowerOf2(t.n);
}

// exp(x) - 1, exact near 0; `high` at most 88.
PELLUCID_INLINE Vector ExpMinus1Within(Vector x, float high) {
  const Reduced t = ReduceByLn2(AtLeast(AtMost(x, high), -30.0f));
  const Vector scale = PowerOf2(t.n);
  return ExpMinus1Small(t.r) * scale + (scale - 1.0f);
}

// log(1 + f) for sqrt(1/2) <= 1 + f <= sqrt(2)
PELLUCID_INLINE Vector Log1pSmall(Vector f) {
  Vector p = f * -0.0797411983f + 0.1265566536f;
  p = p * f + -0.1298929375f;
  p = p * f + 0.1420995063f;
  p = p * f + -0.1664158069f;
  p = p * f + 0.2000120079f;
  p = p * f + -0.2500030393f;
  p = p * f + 0.3333332994f;
  const Vector square = f * f;
  return (p * f + -0.5f) * square + f;
}

PELLUCID_INLINE Vector Log(Vector x) {
  // x = m 2^e with sqrt(1/2) <= m < sqrt(2)
  const Integers shifted = Signed(Wrapping(Bits(x)) - 0x3f3504f3u);
  const Integers e = shifted >> 23;
  const Vector m = FromBits((shifted & 0x007fffff) + 0x3f3504f3);
  const Vector n = __builtin_convertvector(e, Vector);
  Vector y = n * 0.693359375f + (Log1pSmall(m - 1.0f) + n * -2.12194440e-4f);
  y = x < 1.17549435e-38f ? Splat(-__builtin_inff()) : y;
  y = x < 0.0f ? Splat(__builtin_nanf("")) : y;
  return (x > 3.4028235e38f) | (x != x) ? x : y;
}

// log(1 + u) for 0 <= u <= 1
PELLUCID_INLINE Vector Log1pUnit(Vector u) {
  const Integers large = u > 0.41421356f;
  const Vector y = Log1pSmall(large ? u * 0.5f - 0.5f : u);
  return large ? y + 0.693147181f : y;
}

// s = 1 / (1 + exp(-x)), and 1 - s without cancellation
struct SigmoidParts {
  Vector value, rest;
};
PELLUCID_INLINE SigmoidParts SigmoidOf(Vector x) {
  const Vector e = ExpWithin(-x, -87.0f, 87.0f), r = Reciprocal(e + 1.0f);
  return {x < -87.0f ? Vector{} : r, e * r};
}
PELLUCID_INLINE Vector Sigmoid(Vector x) { return SigmoidOf(x).value; }

// t = e / (e + 2) with e = exp(2 |x|) - 1, and 1 - t t without cancellation
struct TanhParts {
  Vector value, derivative;
};
PELLUCID_INLINE TanhParts TanhOf(Vector x) {
  const Vector e = ExpMinus1Within(Absolute(x) * 2.0f, 40.0f), r = Reciprocal(e + 2.0f);
  return {WithSign(e * r, x), (e + 1.0f) * 4.0f * r * r};
}
PELLUCID_INLINE Vector Tanh(Vector x) { return TanhOf(x).value; }

// log(1 + exp(x))
PELLUCID_INLINE Vector Softplus(Vector x) {
  return (x > 0.0f) | (x != x) ? x + Log1pUnit(ExpWithin(-x, -87.0f, 0.0f)) : Log1pUnit(ExpWithin(x, -87.0f, 0.0f));
}

// exp(z z) erfc(z) for z >= 0, with t = 1 / (1 + 0.4 z)
PELLUCID_INLINE Vector ScaledErfc(Vector z) {
  const Vector t = Reciprocal(z * 0.4f + 1.0f);
  Vector p = t * 0.0416128924f + -0.142081825f;
  p = p * t + 0.0876573523f;
  p = p * t + 0.083732625f;
  p = p * t + 0.0827034131f;
  p = p * t + 0.1921276782f;
  p = p * t + 0.202213954f;
  p = p * t + 0.2263970179f;
  p = p * t + 0.2256369554f;
  return p * t;
}

PELLUCID_INLINE Vector Erf(Vector x) {
  const Vector z = Absolute(x), square = x * x;
  Vector p = square * -5.6314189759e-4f + 4.9175506077e-3f;
  p = p * square + -2.6711310584e-2f;
  p = p * square + 1.1280180085e-1f;
  p = p * square + -3.7612326183e-1f;
  p = p * square + 1.1283791225f;
  const Vector far = 1.0f - ScaledErfc(AtMost(z, 10.0f)) * ExpWithin(-square, -87.0f, 0.0f);
  return z < 1.0f ? p * x : WithSign(far, x);
}

// The normal distribution: cumulative = P(X <= x), density exp(-x x / 2) / sqrt(2 pi)
struct Normal {
  Vector cumulative, density;
};
PELLUCID_INLINE Normal NormalOf(Vector x) {
  const Vector z = Absolute(x) * 0.707106781f;
  const Vector e = ExpWithin(x * x * -0.5f, -87.0f, 0.0f);
  const Vector tail = ScaledErfc(AtMost(z, 10.0f)) * e * 0.5f;
  return {x < 0.0f ? tail : 1.0f - tail, e * 0.398942280f};
}

// tanh(log(1 + exp(x))) = n / (n + 2) with n = e (e + 2), e = exp(x)
struct MishParts {
  Vector tanh, derivative;  // of the hyperbolic tangent by x
};
PELLUCID_INLINE MishParts MishOf(Vector x) {
  const Vector e = x < -87.0f ? Vector{} : ExpWithin(x, -87.0f, 20.0f);
  const Vector n = e * (e + 2.0f), r = Reciprocal(n + 2.0f);
  return {n * r, 4.0f * e * (e + 1.0f) * r * r};
}

}  // namespace pellucid::lanes::PELLUCID_ISA
