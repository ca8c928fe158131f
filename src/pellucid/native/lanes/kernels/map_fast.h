// Short maps without tiles: one leaf that is a feature map, at most one instruction of the common ones, and windows of
// 2 x 2 or no pooling. Each pixel is read once and goes through registers. Same numbers as through the tiles.
#pragma once

#include "map_tile.h"

namespace pellucid::lanes::PELLUCID_ISA {

PELLUCID_INLINE bool IsFast(const MapArguments& a) {
  const bool windows = HasWindows(a) && a.pool_h == 2 && a.pool_w == 2;
  if (a.leaf_count != 1 || a.leaves[0].kind != kMap || a.instruction_count > 1) return false;
  if (a.pool != kNoPool && !windows) return false;
  if (a.instruction_count == 0) return true;
  switch (a.instructions[0].code) {
    case kIdentity: case kRelu: case kHardtanh: case kLeakyRelu: case kSilu: case kGelu: case kSigmoid: case kTanh:
      return true;
    default: return false;
  }
}

template <class Use>
PELLUCID_INLINE void WithFast(const MapArguments& a, Use&& use) {
  const MapInstruction& i = a.instructions[0];
  switch (a.instruction_count == 0 ? int32_t(kIdentity) : i.code) {
    case kRelu: return use(Relu{});
    case kHardtanh: return use(Hardtanh{i.a, i.b});
    case kLeakyRelu: return use(LeakyRelu{i.a});
    case kSilu: return use(Silu{});
    case kGelu: return use(Gelu{});
    case kSigmoid: return use(Logistic{});
    case kTanh: return use(HyperbolicTangent{});
    default: return use(Identity{});
  }
}

// Four numbers of a window in row order. PyTorch's order: a later one wins if it is larger, or not a number.
PELLUCID_INLINE Integers Wins(Vector later, Vector before) { return (later > before) | (later != later); }

PELLUCID_INLINE Vector LargestOf4(Vector a, Vector b, Vector c, Vector d) {
#if PELLUCID_LANES == 16
  const auto larger = [](Vector x, Vector y) {
    return Vector(__builtin_ia32_maxps512_mask(x, y, Vector{}, uint16_t(-1), 4));
  };
  const Vector most = larger(larger(a, b), larger(c, d));
  return Select((a != a) | (b != b) | (c != c) | (d != d), a + b + c + d, most);
#else
  const Vector first = Select(Wins(b, a), b, a), second = Select(Wins(d, c), d, c);
  return Select(Wins(second, first), second, first);
#endif
}

// What a fast kernel needs of its leaf in one channel.
struct Channel {
  Vector scale, shift, mean, slope, constant;
};
PELLUCID_INLINE Channel ChannelOf(const MapLeaf& leaf, int64_t c) {
  Channel k;
  k.scale = Splat(ScaleOf(leaf, c));
  k.shift = Splat(ShiftOf(leaf, c));
  k.mean = Splat(leaf.mean ? leaf.mean[c] : 0.0f);
  k.slope = Splat(leaf.factors ? leaf.factors[2 * c] : 0.0f);
  k.constant = Splat(leaf.factors ? leaf.factors[2 * c + 1] : 0.0f);
  return k;
}

template <class F>
static void FastForward(const MapArguments& a, const float* x, float* y, F f) {
  const int64_t pixels = int64_t(a.H) * a.W, row = int64_t(a.W) * kLanes;
  for (int64_t c = 0; c < a.C; c++) {
    const Channel k = ChannelOf(a.leaves[0], c);
    const Vector scale = k.scale, shift = k.shift;
    const float* in = x + c * pixels * kLanes;
    if (a.pool == kNoPool) {
      float* out = y + c * pixels * kLanes;
      for (int64_t i = 0; i < pixels * kLanes; i += kLanes) Store(out + i, f(Load(in + i) * scale + shift));
      continue;
    }
    const bool largest = a.pool == kMaxPool;
    for (int64_t p = 0; p < a.H / 2; p++, in += 2 * row) {
      const float* upper = in;
      for (int64_t q = 0; q < a.W / 2; q++, upper += 2 * kLanes, y += kLanes) {
        const Vector v[4] = {f(Load(upper) * scale + shift), f(Load(upper + kLanes) * scale + shift),
                             f(Load(upper + row) * scale + shift), f(Load(upper + row + kLanes) * scale + shift)};
        Store(y, largest ? LargestOf4(v[0], v[1], v[2], v[3]) : (v[0] + v[1] + v[2] + v[3]) * 0.25f);
      }
    }
  }
}

// Where the gradients of one window go: each number's, and for sums those of the numbers themselves.
template <class F, bool kLargest>
struct Window {
  Vector x[4], dz[4];
  Vector of_dz, of_product;  // sums over the window

  __attribute__((always_inline)) void Set(const float* upper, int64_t row, Vector dy, const Channel& k, F f) {
    x[0] = Load(upper);
    x[1] = Load(upper + kLanes);
    x[2] = Load(upper + row);
    x[3] = Load(upper + row + kLanes);
    if constexpr (kLargest) {
      Vector v[4];
      for (int i = 0; i < 4; i++) v[i] = f(x[i] * k.scale + k.shift);
      const Integers right = Wins(v[1], v[0]), low_right = Wins(v[3], v[2]);
      const Integers low = Wins(Select(low_right, v[3], v[2]), Select(right, v[1], v[0]));
      const Vector winner = Select(low, Select(low_right, x[3], x[2]), Select(right, x[1], x[0]));
      const Vector d = f.Back(dy, winner * k.scale + k.shift);
      const Vector upper_d = Select(low, Vector{}, d), lower_d = Select(low, d, Vector{});
      dz[0] = Select(right, Vector{}, upper_d);
      dz[1] = Select(right, upper_d, Vector{});
      dz[2] = Select(low_right, Vector{}, lower_d);
      dz[3] = Select(low_right, lower_d, Vector{});
      of_dz = d;
      of_product = d * (winner - k.mean);
    } else {
      const Vector part = dy * 0.25f;
      of_dz = of_product = Vector{};
      for (int i = 0; i < 4; i++) {
        dz[i] = f.Back(part, x[i] * k.scale + k.shift);
        of_dz += dz[i];
        of_product += dz[i] * (x[i] - k.mean);
      }
    }
  }
};

struct FastBack {
  const float* x;
  const float* y;   // or null
  const float* dy;
  float* out;   // or null: sums only
  float* sums;  // [C][2][L] or null
  bool starts;  // whether the sums begin at 0
  Integers live;
};

PELLUCID_INLINE void FinishSums(float* sums, bool starts, Vector of_dz, Vector of_product) {
  Store(sums, starts ? of_dz : Load(sums) + of_dz);
  Store(sums + kLanes, starts ? of_product : Load(sums + kLanes) + of_product);
}

enum Writes { kNothing, kScaled, kWithFactors };  // of dL/dx

template <Writes kWrites>
PELLUCID_INLINE void WriteFast(const FastBack& b, const Channel& k, bool adds, Vector dz, Vector x, int64_t at) {
  Vector d = dz * k.scale;
  if (kWrites == kWithFactors) d += (x - k.mean) * k.slope + k.constant;
  d = Select(b.live, d, Vector{});
  Store(b.out + at, adds ? Load(b.out + at) + d : d);
}

template <bool kSums, Writes kWrites, class F>
static void FastPlain(const MapArguments& a, const FastBack& b, F f) {
  const int64_t floats = int64_t(a.H) * a.W * kLanes;
  const bool adds = a.leaves[0].accumulate;
  for (int64_t c = 0; c < a.C; c++) {
    const Channel k = ChannelOf(a.leaves[0], c);
    Vector of_dz[2] = {}, of_product[2] = {};
    const int64_t begin = c * floats, end = begin + floats;
    const auto one = [&](int64_t i, int part) {
      const Vector x = Load(b.x + i), dz = Select(b.live, f.Back(Load(b.dy + i), x * k.scale + k.shift), Vector{});
      if (kWrites != kNothing) WriteFast<kWrites>(b, k, adds, dz, x, i);
      if (kSums) of_dz[part] += dz;
      if (kSums) of_product[part] += dz * Select(b.live, x - k.mean, Vector{});
    };
    int64_t i = begin;
    for (; i + kLanes < end; i += 2 * kLanes) {
      one(i, 0);
      one(i + kLanes, 1);
    }
    if (i < end) one(i, 0);
    if (kSums)
      FinishSums(b.sums + c * 2 * kLanes, b.starts, of_dz[0] + of_dz[1], of_product[0] + of_product[1]);
  }
}

template <bool kSums, Writes kWrites, bool kLargest, class F>
static void FastWindows(const MapArguments& a, const FastBack& b, int64_t c, F f) {
  const int64_t pixels = int64_t(a.H) * a.W, row = int64_t(a.W) * kLanes, P = a.H / 2, Q = a.W / 2;
  const bool adds = a.leaves[0].accumulate;
  const float* dy = b.dy + c * P * Q * kLanes;
  const Channel k = ChannelOf(a.leaves[0], c);
  Vector of_dz{}, of_product{};
  for (int64_t p = 0; p < P; p++) {
    int64_t at = (c * pixels + p * 2 * a.W) * kLanes;
    for (int64_t q = 0; q < Q; q++, at += 2 * kLanes, dy += kLanes) {
      Window<F, kLargest> w;
      w.Set(b.x + at, row, Load(dy), k, f);
      if (kSums) of_dz += Select(b.live, w.of_dz, Vector{});
      if (kSums) of_product += Select(b.live, w.of_product, Vector{});
      if (kWrites != kNothing) {
        WriteFast<kWrites>(b, k, adds, w.dz[0], w.x[0], at);
        WriteFast<kWrites>(b, k, adds, w.dz[1], w.x[1], at + kLanes);
        WriteFast<kWrites>(b, k, adds, w.dz[2], w.x[2], at + row);
        WriteFast<kWrites>(b, k, adds, w.dz[3], w.x[3], at + row + kLanes);
      }
    }
  }
  if (kSums) FinishSums(b.sums + c * 2 * kLanes, b.starts, of_dz, of_product);
}

// The sums of a batch norm under a ReLU, or nothing, and the largest of each window, from the pooled map alone: where a
// number passed, x - mean = (y - bias) / scale. Not for channels whose bias is far larger than their weight: there the
// difference has lost its digits.
PELLUCID_INLINE bool SumsOverPooled(const MapArguments& a, const FastBack& b, int64_t c) {
  const MapLeaf& leaf = a.leaves[0];
  const int32_t code = a.instruction_count == 0 ? int32_t(kIdentity) : a.instructions[0].code;
  if (!b.y || a.pool != kMaxPool || (code != kIdentity && code != kRelu)) return false;
  if (!leaf.mean || !leaf.inverse_deviation) return false;
  const float scale = ScaleOf(leaf, c), bias = ShiftOf(leaf, c) + scale * leaf.mean[c];
  if (!(__builtin_fabsf(bias) * leaf.inverse_deviation[c] <= 16.0f * __builtin_fabsf(scale))) return false;
  const int64_t windows = int64_t(a.H / 2) * (a.W / 2) * kLanes;
  const Vector middle = Splat(bias), inverse = Splat(1.0f / scale);
  Vector of_dz[2] = {}, of_product[2] = {};
  for (int64_t i = c * windows, part = 0; i < (c + 1) * windows; i += kLanes, part ^= 1) {
    const Vector y = Load(b.y + i);
    Vector d = Select(b.live, Load(b.dy + i), Vector{});
    if (code == kRelu) d = Select(y <= 0.0f, Vector{}, d);
    of_dz[part] += d;
    of_product[part] += d * Select(b.live, (y - middle) * inverse, Vector{});
  }
  FinishSums(b.sums + c * 2 * kLanes, b.starts, of_dz[0] + of_dz[1], of_product[0] + of_product[1]);
  return true;
}

template <bool kSums, Writes kWrites>
static void FastBackward(const MapArguments& a, const FastBack& b) {
  WithFast(a, [&](auto f) {
    if (a.pool == kNoPool) return FastPlain<kSums, kWrites>(a, b, f);
    for (int64_t c = 0; c < a.C; c++) {
      if (kSums && kWrites == kNothing && SumsOverPooled(a, b, c)) continue;
      if (a.pool == kMaxPool)
        FastWindows<kSums, kWrites, true>(a, b, c, f);
      else
        FastWindows<kSums, kWrites, false>(a, b, c, f);
    }
  });
}

}  // namespace pellucid::lanes::PELLUCID_ISA
