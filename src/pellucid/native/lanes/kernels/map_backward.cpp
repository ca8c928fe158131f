// The way back through a map: the forward pass is recomputed from the leaves tile by tile, the gradient is routed
// through the pooling and multiplied back through the instructions, in reverse, to the leaves.
#include "map_fast.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

template <bool kValue>
struct Constant {
  constexpr operator bool() const { return kValue; }
};
constexpr Constant<true> kYes;
constexpr Constant<false> kNo;

struct MapBack {
  MapState forward;
  float* gradients;                   // [kRegisters][kTileFloats]
  const float* gradient[kRegisters];  // dL/d(register), or null where nothing has arrived
  const float* zeros;                 // [kTileFloats]
  bool needed[kRegisters];
  bool writes[kMapLeaves];            // whether dL/dx is wanted in this pass
  bool sums[kMapLeaves];              // whether sums are taken in this pass
  Integers live;
  int32_t slot;
  bool first;
};

void Plan(MapBack& b, bool sums_only) {
  const MapArguments& a = b.forward.a;
  for (int r = 0; r < a.leaf_count; r++) {
    const MapLeaf& leaf = a.leaves[r];
    b.writes[r] = !sums_only && leaf.gradient;
    b.sums[r] = leaf.sums && sums_only == (leaf.factors != nullptr);
    b.needed[r] = b.writes[r] || b.sums[r];
  }
  for (int k = 0; k < a.instruction_count; k++) {
    const MapInstruction& in = a.instructions[k];
    b.needed[a.leaf_count + k] = b.needed[in.left] || (IsBinary(in) && b.needed[in.right]);
  }
  // Values are computed again only where a derivative, or the choice of the largest, depends on them.
  bool* asked = b.forward.asked;
  asked[a.leaf_count + a.instruction_count - 1] = a.pool == kMaxPool;
  for (int k = a.instruction_count - 1; k >= 0; k--) {
    const MapInstruction& in = a.instructions[k];
    const bool derives = b.needed[a.leaf_count + k] && in.code != kIdentity && in.code != kLinear && in.code != kAdd &&
                         in.code != kDropout;
    if (!derives && !asked[a.leaf_count + k]) continue;
    asked[in.left] = true;
    if (IsBinary(in)) asked[in.right] = true;
  }
}

// PyTorch's order: a later tap wins if it is larger, or not a number.
PELLUCID_INLINE void UnpoolLargest(const Tile& t, int taps, const float* x, const float* dy, float* dx) {
  for (int i = 0; i < t.windows; i++) {
    Vector most = Load(x + i * kLanes);
    Integers winner{};
    for (int tap = 1; tap < taps; tap++) {
      const Vector v = Load(x + (tap * t.windows + i) * kLanes);
      const Integers wins = (v > most) | (v != v);
      most = wins ? v : most;
      winner = wins ? Integers{} + tap : winner;
    }
    const Vector d = Load(dy + i * kLanes);
    for (int tap = 0; tap < taps; tap++)
      Store(dx + (tap * t.windows + i) * kLanes, winner == tap ? d : Vector{});
  }
}

// dL/d(the last register), from dL/dy.
PELLUCID_INLINE void Unpool(MapBack& b, const Tile& t, const float* dy) {
  const MapArguments& a = b.forward.a;
  const int last = a.leaf_count + a.instruction_count - 1;
  const int64_t pixels = b.forward.pixels;
  float* out = b.gradients + last * kTileFloats;
  b.gradient[last] = out;
  if (a.pool == kNoPool) {
    b.gradient[last] = dy + (t.channel * pixels + t.first) * kLanes;
  } else if (a.pool == kPlanePool) {
    for (int i = 0, c = int(t.channel); i < t.n; i += t.run, c++) {
      const Vector d = Load(dy + int64_t(c) * kLanes) * (1.0f / float(pixels));
      for (int j = i; j < i + t.run; j++) Store(out + j * kLanes, d);
    }
  } else {
    const int taps = a.pool_h * a.pool_w;
    const float* from = dy + (t.channel * (a.H / a.pool_h) * (a.W / a.pool_w) + t.window) * kLanes;
    if (a.pool == kMaxPool) return UnpoolLargest(t, taps, b.forward.value[last], from, out);
    for (int i = 0; i < t.windows; i++) {
      const Vector d = Load(from + i * kLanes) * (1.0f / float(taps));
      for (int tap = 0; tap < taps; tap++) Store(out + (tap * t.windows + i) * kLanes, d);
    }
  }
}

// Adds f(i), for the numbers of a tile, to the gradient of a register.
template <class F>
PELLUCID_INLINE void Contribute(MapBack& b, int r, int n, F f) {
  float* out = b.gradients + r * kTileFloats;
  const float* before = b.gradient[r];
  if (before)
    for (int i = 0; i < n; i++) Store(out + i * kLanes, Load(before + i * kLanes) + f(i));
  else
    for (int i = 0; i < n; i++) Store(out + i * kLanes, f(i));
  b.gradient[r] = out;
}

PELLUCID_INLINE void Back(MapBack& b, const Tile& t, int k) {
  const MapInstruction& in = b.forward.a.instructions[k];
  const float* g = b.gradient[b.forward.a.leaf_count + k];
  const float* l = b.forward.value[in.left];
  const int left = in.left, right = in.right, n = t.n;
  if (in.code == kDropout) {
    const Dropout& drop = b.forward.dropouts[k];
    Contribute(b, left, n, [&](int i) { return drop(Load(g + i * kLanes), Element(b.forward, t, in, i)); });
  } else if (!IsBinary(in)) {
    WithUnary(in, [&](auto f) {
      Contribute(b, left, n, [=](int i) { return f.Back(Load(g + i * kLanes), Load(l + i * kLanes)); });
    });
  } else {
    const float* r = b.forward.value[right];
    const bool passes = in.code == kAdd;  // the gradient, as it is
    if (b.needed[left]) {
      if (passes && !b.gradient[left])
        b.gradient[left] = g;
      else
        WithBinary(in, [&](auto f) {
          Contribute(b, left, n, [=](int i) {
            return f.Left(Load(g + i * kLanes), Load(l + i * kLanes), Load(r + i * kLanes));
          });
        });
    }
    if (b.needed[right]) {
      if (passes && in.a == 1.0f && !b.gradient[right])
        b.gradient[right] = g;
      else
        WithBinary(in, [&](auto f) {
          Contribute(b, right, n, [=](int i) {
            return f.Right(Load(g + i * kLanes), Load(l + i * kLanes), Load(r + i * kLanes));
          });
        });
    }
  }
}

// Sums over a run of a channel, in two parts each: additions wait for one another.
template <bool kProducts, class At>
PELLUCID_INLINE void SumRun(const MapBack& b, int n, const float* dz, const float* x, float mean, float* sums,
                            bool starts, At at) {
  Vector of_dz[2] = {}, of_product[2] = {};
  const Vector middle = Splat(mean);
  const Integers live = b.live;
  for (int i = 0; i < n; i++) {
    const Vector d = Select(live, Load(dz + i * kLanes), Vector{});
    of_dz[0] += d;
    if (kProducts) of_product[0] += d * (Select(live, Load(x + at(i) * kLanes), Vector{}) - middle);
    if (++i == n) break;
    const Vector e = Select(live, Load(dz + i * kLanes), Vector{});
    of_dz[1] += e;
    if (kProducts) of_product[1] += e * (Select(live, Load(x + at(i) * kLanes), Vector{}) - middle);
  }
  const Vector first = of_dz[0] + of_dz[1], second = of_product[0] + of_product[1];
  Store(sums, starts ? first : Load(sums) + first);
  Store(sums + kLanes, starts ? second : Load(sums + kLanes) + second);
}

PELLUCID_INLINE void AddSums(MapBack& b, const Tile& t, int r) {
  const MapLeaf& leaf = b.forward.a.leaves[r];
  const float* dz = b.gradient[r];
  const float* x = b.forward.leaf[r] + (t.channel * b.forward.pixels + t.first) * kLanes;
  float* sums = leaf.sums + b.slot * leaf.sums_slot + t.channel * 2 * kLanes;
  const bool starts = b.first && t.opens;
  int64_t c = t.channel;
  for (int i = 0; i < t.n; i += t.run, c++, sums += 2 * kLanes) {
    const float mean = leaf.mean ? leaf.mean[c] : 0.0f;
    if (leaf.kind != kMap)
      SumRun<false>(b, t.run, dz + i * kLanes, x, mean, sums, starts, [](int j) { return int64_t(j); });
    else if (t.scattered)
      SumRun<true>(b, t.run, dz, x, mean, sums, starts, [&](int j) { return int64_t(t.at[j]); });
    else
      SumRun<true>(b, t.run, dz + i * kLanes, x + i * kLanes, mean, sums, starts, [](int j) { return int64_t(j); });
  }
}

PELLUCID_INLINE void WriteGate(const MapBack& b, const Tile& t, const MapLeaf& leaf, const float* dz, float* out) {
  out += t.channel * kLanes;
  for (int i = 0; i < t.n; i += t.run, out += kLanes) {
    Vector sum = t.opens && !leaf.accumulate ? Vector{} : Load(out);
    for (int j = i; j < i + t.run; j++) sum += Select(b.live, Load(dz + j * kLanes), Vector{});
    Store(out, sum);
  }
}

// dL/dx of some pixels of one channel of a map; dz null: nothing arrives from above.
template <class At>
PELLUCID_INLINE void WriteRun(const MapBack& b, const MapLeaf& leaf, int64_t c, int n, const float* dz, const float* x,
                              float* out, At at) {
  const Vector scale = Splat(ScaleOf(leaf, c)), mean = Splat(leaf.mean ? leaf.mean[c] : 0.0f);
  const Vector slope = Splat(leaf.factors ? leaf.factors[2 * c] : 0.0f);
  const Vector constant = Splat(leaf.factors ? leaf.factors[2 * c + 1] : 0.0f);
  const Integers live = b.live;
  const auto each = [&](auto with_factors, auto adds) {
    for (int i = 0; i < n; i++) {
      const int64_t place = at(i) * kLanes;
      Vector d = dz ? Load(dz + i * kLanes) * scale : Vector{};
      if (with_factors) d += (Load(x + place) - mean) * slope + constant;
      d = Select(live, d, Vector{});
      Store(out + place, adds ? Load(out + place) + d : d);
    }
  };
  if (leaf.factors)
    leaf.accumulate ? each(kYes, kYes) : each(kYes, kNo);
  else
    leaf.accumulate ? each(kNo, kYes) : each(kNo, kNo);
}

PELLUCID_INLINE void WriteMap(const MapBack& b, const Tile& t, int r, float* out) {
  const MapLeaf& leaf = b.forward.a.leaves[r];
  const float* dz = b.gradient[r];
  const int64_t first = (t.channel * b.forward.pixels + t.first) * kLanes;
  const float* x = b.forward.leaf[r] + first;
  out += first;
  if (t.scattered) return WriteRun(b, leaf, t.channel, t.n, dz, x, out, [&](int j) { return int64_t(t.at[j]); });
  int64_t c = t.channel;
  for (int i = 0; i < t.n * kLanes; i += t.run * kLanes, c++)
    WriteRun(b, leaf, c, t.run, dz + i, x + i, out + i, [](int j) { return int64_t(j); });
}

// The gradient as it stands between the instructions: what follows then begins there.
PELLUCID_INLINE void WriteMiddle(const MapBack& b, const Tile& t, float* out) {
  const float* from = b.gradient[b.forward.a.middle_register];
  out += (t.channel * b.forward.pixels + t.first) * kLanes;
  for (int i = 0; i < t.n; i++) Store(out + i * kLanes, Load(from + i * kLanes));
}

// Pixels that no window covers: nothing arrives there from above.
void WriteUncovered(const MapBack& b, int r, float* out) {
  const MapArguments& a = b.forward.a;
  const MapLeaf& leaf = a.leaves[r];
  const int64_t rows = a.H / a.pool_h * a.pool_h, columns = a.W / a.pool_w * a.pool_w;
  if ((rows == a.H && columns == a.W) || (leaf.accumulate && !leaf.factors)) return;
  for (int64_t c = 0; c < a.C; c++)
    for (int64_t h = 0; h < a.H; h++) {
      const int64_t w = h < rows ? columns : 0, at = ((c * a.H + h) * a.W + w) * kLanes;
      WriteRun(b, leaf, c, int(a.W - w), nullptr, b.forward.leaf[r] + at, out + at, [](int j) { return int64_t(j); });
    }
}

void WriteUncovered(const MapBack& b, int64_t group) {
  const MapArguments& a = b.forward.a;
  for (int r = 0; HasWindows(a) && r < a.leaf_count; r++)
    if (b.writes[r] && a.leaves[r].kind == kMap)
      WriteUncovered(b, r, a.leaves[r].gradient + group * a.leaves[r].gradient_group);
}

// One lane group of a map that needs no tiles.
void Short(const MapBack& b, const float* dy, int64_t group) {
  const MapArguments& a = b.forward.a;
  const MapLeaf& leaf = a.leaves[0];
  FastBack fast{b.forward.leaf[0], a.y ? a.y + group * a.y_group : nullptr, dy, nullptr, nullptr, b.first, b.live};
  if (b.writes[0]) fast.out = leaf.gradient + group * leaf.gradient_group;
  if (b.sums[0]) fast.sums = leaf.sums + b.slot * leaf.sums_slot;
  if (!fast.out && !fast.sums) return;
  if (!fast.out)
    FastBackward<true, kNothing>(a, fast);
  else if (leaf.factors)
    FastBackward<false, kWithFactors>(a, fast);  // whose sums were taken before
  else if (fast.sums)
    FastBackward<true, kScaled>(a, fast);
  else
    FastBackward<false, kScaled>(a, fast);
  WriteUncovered(b, group);
}

void Backward(const MapArguments& a, const PellucidUnits& range, bool sums_only) {
  float* memory = pellucid_lanes_scratch(0, (2 * kRegisters + 1) * kTileFloats);
  float* zeros = memory + 2 * kRegisters * kTileFloats;
  for (int64_t i = 0; i < kTileFloats; i++) zeros[i] = 0.0f;
  const MapState forward{a, int64_t(a.H) * a.W, memory, {}, {}, {}, {}};
  MapBack b{forward, memory + kRegisters * kTileFloats, {}, zeros, {}, {}, {}, {}, range.slot, false};
  for (int r = 0; r < kRegisters; r++) b.forward.value[r] = OwnValue(forward, r);  // unasked ones too
  Plan(b, sums_only);
  for (int64_t g = range.begin; g < range.end; g++) {
    Begin(b.forward, g);
    b.first = range.first && g == range.begin;
    b.live = LiveLanes(g == a.G - 1 ? a.live : kLanes);
    const float* dy = a.dy + g * a.dy_group;
    if (IsFast(a)) {
      Short(b, dy, g);
      continue;
    }
    EachTile(a, [&](const Tile& t) {
      RunTile(b.forward, t, nullptr);
      for (const float*& gradient : b.gradient) gradient = nullptr;
      Unpool(b, t, dy);
      for (int k = a.instruction_count - 1; k >= 0; k--)
        if (b.needed[a.leaf_count + k] && b.gradient[a.leaf_count + k]) Back(b, t, k);
      if (sums_only && a.middle) WriteMiddle(b, t, a.middle + g * a.middle_group);
      for (int r = 0; r < a.leaf_count; r++) {
        if (!b.gradient[r]) b.gradient[r] = zeros;
        const MapLeaf& leaf = a.leaves[r];
        float* out = b.writes[r] ? leaf.gradient + g * leaf.gradient_group : nullptr;
        if (b.sums[r]) AddSums(b, t, r);
        if (out && leaf.kind == kMap) WriteMap(b, t, r, out);
        if (out && leaf.kind == kGate) WriteGate(b, t, leaf, b.gradient[r], out);
      }
    });
    WriteUncovered(b, g);
  }
}

}  // namespace

// By groups: the leaves' gradients, and the sums of leaves that have no factors.
void MapBackward(const void* arguments, const PellucidUnits* range) {
  Backward(*static_cast<const MapArguments*>(arguments), *range, false);
}

// By groups: the sums of leaves with factors, which stand for a batch norm.
void MapBackwardSums(const void* arguments, const PellucidUnits* range) {
  Backward(*static_cast<const MapArguments*>(arguments), *range, true);
}

// Units: blocks of 16 channels, or one if the parameter is shared. The gradients of an affine's or of a single
// parameter.
void MapParameterGradients(const void* arguments, const PellucidUnits* range) {
  const MapParameterArguments& a = *static_cast<const MapParameterArguments*>(arguments);
  const int64_t begin = a.shared ? 0 : range->begin * 16, end = a.shared ? a.C : Least(a.C, range->end * 16);
  double whole = 0;
  for (int64_t c = begin; c < end; c++) {
    double of_dz = 0, of_product = 0;
    for (int64_t s = 0; s < a.slots; s++) {
      const float* sums = a.sums + s * a.sums_slot + c * 2 * kLanes;
      for (int l = 0; l < kLanes; l++) {
        of_dz += double(sums[l]);
        of_product += double(sums[kLanes + l]);
      }
    }
    whole += of_dz;
    if (a.shift_gradient && !a.shared) a.shift_gradient[c] = float(of_dz);
    if (a.scale_gradient) a.scale_gradient[c] = float(of_product);
  }
  if (a.shared) a.shift_gradient[0] = float(whole);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
