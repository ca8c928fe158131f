// The instructions of a map. Each is a functor of vectors: operator() gives y = f(x), Back the gradient g f'(x), with
// the values that PyTorch has at kinks, at NaN and at infinity. Numbers of the codes: lanes/blocks/expression.py has
// the same.
#pragma once

#include "../functions.h"
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

enum MapCode : int32_t {
  kIdentity, kRelu, kHardtanh, kClamp, kLeakyRelu, kElu, kSilu, kGelu, kGeluTanh, kMish, kSigmoid, kTanh, kSoftplus,
  kHardswish, kHardsigmoid, kLogSigmoid, kThreshold, kLinear, kAbs, kExp, kLog, kSqrt, kSquare, kReciprocal, kRsqrt,
  kPowInteger, kPow, kErf,
  kAdd = 64, kMul, kDiv, kMaximum, kMinimum, kPrelu,
  kDropout = 128
};

struct Identity {
  Vector operator()(Vector x) const { return x; }
  Vector Back(Vector g, Vector) const { return g; }
};
struct Relu {
  Vector operator()(Vector x) const { return AtLeast(x, 0.0f); }
  Vector Back(Vector g, Vector x) const { return x <= 0.0f ? Vector{} : g; }
};
struct Hardtanh {
  float low, high;
  Vector operator()(Vector x) const { return AtMost(AtLeast(x, low), high); }
  Vector Back(Vector g, Vector x) const { return (x <= low) | (x >= high) ? Vector{} : g; }
};
struct Clamp {
  float low, high;
  Vector operator()(Vector x) const { return AtMost(AtLeast(x, low), high); }
  Vector Back(Vector g, Vector x) const { return (x >= low) & (x <= high) ? g : Vector{}; }
};
struct LeakyRelu {
  float slope;
  Vector operator()(Vector x) const { return x > 0.0f ? x : x * slope; }
  Vector Back(Vector g, Vector x) const { return x > 0.0f ? g : g * slope; }
};
// negative (exp(inner x) - 1) below 0, positive x above
struct Elu {
  float negative, positive, inner;
  Vector operator()(Vector x) const {
    return x <= 0.0f ? ExpMinus1Within(x * inner, 1.0f) * negative : x * positive;
  }
  Vector Back(Vector g, Vector x) const {
    return x <= 0.0f ? g * (ExpWithin(x * inner, -87.0f, 1.0f) * (negative * inner)) : g * positive;
  }
};
struct Silu {
  Vector operator()(Vector x) const { return x * Sigmoid(x); }
  Vector Back(Vector g, Vector x) const {
    const SigmoidParts s = SigmoidOf(x);
    return g * (s.value * (x * s.rest + 1.0f));
  }
};
struct Gelu {
  Vector operator()(Vector x) const { return x * NormalOf(x).cumulative; }
  Vector Back(Vector g, Vector x) const {
    const Normal n = NormalOf(x);
    return g * (x * n.density + n.cumulative);
  }
};
struct GeluTanh {  // x sigmoid(2 k (x + c x x x)), which is 0.5 x (1 + tanh(...)) without its cancellation
  static constexpr float kTwice = 1.59576912f, kCubic = 0.044715f;
  Vector operator()(Vector x) const { return x * Sigmoid(x * (x * x * (kTwice * kCubic) + kTwice)); }
  Vector Back(Vector g, Vector x) const {
    const Vector square = x * x;
    const SigmoidParts s = SigmoidOf(x * (square * (kTwice * kCubic) + kTwice));
    return g * (s.value * (x * s.rest * (square * (3 * kTwice * kCubic) + kTwice) + 1.0f));
  }
};
struct Mish {
  Vector operator()(Vector x) const { return x * MishOf(x).tanh; }
  Vector Back(Vector g, Vector x) const {
    const MishParts m = MishOf(x);
    return g * (x * m.derivative + m.tanh);
  }
};
struct Logistic {
  Vector operator()(Vector x) const { return Sigmoid(x); }
  Vector Back(Vector g, Vector x) const {
    const SigmoidParts s = SigmoidOf(x);
    return g * (s.value * s.rest);
  }
};
struct HyperbolicTangent {
  Vector operator()(Vector x) const { return Tanh(x); }
  Vector Back(Vector g, Vector x) const {
    return g * TanhOf(x).derivative;
  }
};
struct SoftplusOf {
  float beta, threshold;
  Vector operator()(Vector x) const {
    const Vector z = x * beta;
    return z > threshold ? x : Softplus(z) * (1.0f / beta);
  }
  Vector Back(Vector g, Vector x) const {
    const Vector z = x * beta;
    return z > threshold ? g : g * Sigmoid(z);
  }
};
struct Hardswish {
  Vector operator()(Vector x) const { return x * Hardtanh{0.0f, 6.0f}(x + 3.0f) * (1.0f / 6.0f); }
  Vector Back(Vector g, Vector x) const {
    const Vector inside = g * (x * (1.0f / 3.0f) + 0.5f);
    return x <= -3.0f ? Vector{} : x < 3.0f ? inside : g;
  }
};
struct Hardsigmoid {
  Vector operator()(Vector x) const { return Hardtanh{0.0f, 6.0f}(x + 3.0f) * (1.0f / 6.0f); }
  Vector Back(Vector g, Vector x) const { return (x > -3.0f) & (x < 3.0f) ? g * (1.0f / 6.0f) : Vector{}; }
};
struct LogSigmoid {
  Vector operator()(Vector x) const { return -Softplus(-x); }
  Vector Back(Vector g, Vector x) const { return g * Sigmoid(-x); }
};
struct Threshold {
  float threshold, value;
  Vector operator()(Vector x) const { return x <= threshold ? Splat(value) : x; }
  Vector Back(Vector g, Vector x) const { return x <= threshold ? Vector{} : g; }
};
struct Linear {  // a x + b
  float a, b;
  Vector operator()(Vector x) const { return x * a + b; }
  Vector Back(Vector g, Vector) const { return g * a; }
};
struct Abs {
  Vector operator()(Vector x) const { return Absolute(x); }
  Vector Back(Vector g, Vector x) const { return x > 0.0f ? g : x < 0.0f ? -g : Vector{}; }
};
struct ExpOf {
  Vector operator()(Vector x) const { return Exp(x); }
  Vector Back(Vector g, Vector x) const { return g * Exp(x); }
};
struct LogOf {
  Vector operator()(Vector x) const { return Log(x); }
  Vector Back(Vector g, Vector x) const { return g / x; }
};
struct Sqrt {
  Vector operator()(Vector x) const { return SquareRoot(x); }
  Vector Back(Vector g, Vector x) const { return g / (SquareRoot(x) * 2.0f); }
};
struct Square {
  Vector operator()(Vector x) const { return x * x; }
  Vector Back(Vector g, Vector x) const { return g * x * 2.0f; }
};
struct ReciprocalOf {
  Vector operator()(Vector x) const { return 1.0f / x; }
  Vector Back(Vector g, Vector x) const { return -g / (x * x); }
};
struct Rsqrt {
  Vector operator()(Vector x) const { return 1.0f / SquareRoot(x); }
  Vector Back(Vector g, Vector x) const { return g * -0.5f / (x * SquareRoot(x)); }
};
PELLUCID_INLINE Vector IntegerPower(Vector x, int n) {  // by squaring
  Vector y = Splat(1.0f);
  for (int rest = n < 0 ? -n : n; rest > 0; rest >>= 1, x *= x)
    if (rest & 1) y *= x;
  return n < 0 ? 1.0f / y : y;
}
struct PowInteger {  // x^a, a a whole number of any sign
  float a;
  Vector operator()(Vector x) const { return IntegerPower(x, int(a)); }
  Vector Back(Vector g, Vector x) const { return a == 0.0f ? Vector{} : g * a * IntegerPower(x, int(a) - 1); }
};
struct Pow {  // x^a for x >= 0, else NaN
  float a;
  Vector operator()(Vector x) const { return Exp(Log(x) * a); }
  Vector Back(Vector g, Vector x) const { return g * a * Exp(Log(x) * (a - 1.0f)); }
};
struct ErfOf {
  Vector operator()(Vector x) const { return Erf(x); }
  Vector Back(Vector g, Vector x) const { return g * (1.12837917f * Exp(-x * x)); }
};

// Calls use(functor) with the functor of an instruction that takes one register.
template <class Use>
PELLUCID_INLINE void WithUnary(const MapInstruction& i, Use&& use) {
  switch (i.code) {
    case kRelu: return use(Relu{});
    case kHardtanh: return use(Hardtanh{i.a, i.b});
    case kClamp: return use(Clamp{i.a, i.b});
    case kLeakyRelu: return use(LeakyRelu{i.a});
    case kElu: return use(Elu{i.a, i.b, i.c});
    case kSilu: return use(Silu{});
    case kGelu: return use(Gelu{});
    case kGeluTanh: return use(GeluTanh{});
    case kMish: return use(Mish{});
    case kSigmoid: return use(Logistic{});
    case kTanh: return use(HyperbolicTangent{});
    case kSoftplus: return use(SoftplusOf{i.a, i.b});
    case kHardswish: return use(Hardswish{});
    case kHardsigmoid: return use(Hardsigmoid{});
    case kLogSigmoid: return use(LogSigmoid{});
    case kThreshold: return use(Threshold{i.a, i.b});
    case kLinear: return use(Linear{i.a, i.b});
    case kAbs: return use(Abs{});
    case kExp: return use(ExpOf{});
    case kLog: return use(LogOf{});
    case kSqrt: return use(Sqrt{});
    case kSquare: return use(Square{});
    case kReciprocal: return use(ReciprocalOf{});
    case kRsqrt: return use(Rsqrt{});
    case kPowInteger: return use(PowInteger{i.a});
    case kPow: return use(Pow{i.a});
    case kErf: return use(ErfOf{});
    default: return use(Identity{});
  }
}

// Of two registers: operator() gives y = f(l, r), Left and Right the gradients by them.
struct Add {  // l + a r
  float a;
  Vector operator()(Vector l, Vector r) const { return r * a + l; }
  Vector Left(Vector g, Vector, Vector) const { return g; }
  Vector Right(Vector g, Vector, Vector) const { return g * a; }
};
struct Mul {
  Vector operator()(Vector l, Vector r) const { return l * r; }
  Vector Left(Vector g, Vector, Vector r) const { return g * r; }
  Vector Right(Vector g, Vector l, Vector) const { return g * l; }
};
struct Div {
  Vector operator()(Vector l, Vector r) const { return l / r; }
  Vector Left(Vector g, Vector, Vector r) const { return g / r; }
  Vector Right(Vector g, Vector l, Vector r) const { return -g * (l / r) / r; }
};
struct Maximum {
  Vector operator()(Vector l, Vector r) const { return Max(l, r); }
  Vector Left(Vector g, Vector l, Vector r) const { return l < r ? Vector{} : l == r ? g * 0.5f : g; }
  Vector Right(Vector g, Vector l, Vector r) const { return Left(g, r, l); }
};
struct Minimum {
  Vector operator()(Vector l, Vector r) const { return Min(l, r); }
  Vector Left(Vector g, Vector l, Vector r) const { return l > r ? Vector{} : l == r ? g * 0.5f : g; }
  Vector Right(Vector g, Vector l, Vector r) const { return Left(g, r, l); }
};
struct Prelu {  // r the slope
  Vector operator()(Vector l, Vector r) const { return l > 0.0f ? l : l * r; }
  Vector Left(Vector g, Vector l, Vector r) const { return l > 0.0f ? g : g * r; }
  Vector Right(Vector g, Vector l, Vector) const { return l > 0.0f ? Vector{} : g * l; }
};

template <class Use>
PELLUCID_INLINE void WithBinary(const MapInstruction& i, Use&& use) {
  switch (i.code) {
    case kAdd: return use(Add{i.a});
    case kMul: return use(Mul{});
    case kDiv: return use(Div{});
    case kMaximum: return use(Maximum{});
    case kMinimum: return use(Minimum{});
    default: return use(Prelu{});
  }
}

PELLUCID_INLINE bool IsBinary(const MapInstruction& i) { return i.code >= kAdd && i.code < kDropout; }

// Dropout by a generator that counts: whether a number stays depends on the seed, the instruction's stream, the
// picture and the number's place in the picture, and on nothing else, so forward, backward and every instruction set
// agree.
struct Dropout {
  Integers first, second;  // keys, one a lane
  uint32_t limit;          // of the hash's upper 24 bits: below it a number is dropped
  float scale;

  void Begin(const MapInstruction& i, int64_t group) {
    uint64_t seed;
    memcpy(&seed, i.seed, sizeof seed);
    for (int lane = 0; lane < kLanes; lane++) {
      uint64_t key = seed + uint64_t(i.stream) * 0xd1342543de82ef95u;
      for (int round = 0; round < 2; round++) {  // splitmix64
        key += 0x9e3779b97f4a7c15u * (uint64_t(group * kLanes + lane) * 2 + 1);
        key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9u;
        key = (key ^ (key >> 27)) * 0x94d049bb133111ebu;
        key ^= key >> 31;
      }
      first[lane] = int32_t(uint32_t(key));
      second[lane] = int32_t(uint32_t(key >> 32));
    }
    limit = uint32_t(double(i.a) * 16777216.0 + 0.5);
    scale = i.a >= 1.0f ? 0.0f : 1.0f / (1.0f - i.a);
  }
  Integers Keeps(int64_t element) const {
    Unsigned h = Wrapping(first) + uint32_t(element) * 0x9e3779b1u;
    h = (h ^ (h >> 16)) * 0x85ebca6bu;
    h = (h ^ Wrapping(second) ^ (h >> 13)) * 0xc2b2ae35u;
    h ^= h >> 16;
    return Signed(h >> 8) >= int32_t(limit);
  }
  Vector operator()(Vector x, int64_t element) const { return Keeps(element) ? x * scale : Vector{}; }
};

}  // namespace pellucid::lanes::PELLUCID_ISA
