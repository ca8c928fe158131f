// The way back through a map: the forward pass is recomputed from the leaves tile by tile, the gradient is routed through
// the pooling and multiplied back through the instructions, in reverse, to the leaves.
#include "map_tile.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

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

// Where number i of a tile lies in its leaf, in pixels from the first of the tile's first channel.
PELLUCID_INLINE int64_t Place(const Tile& t, int i) { return t.first + (t.scattered ? t.at[i] : i); }

PELLUCID_INLINE void AddSums(MapBack& b, const Tile& t, int r) {
  const MapLeaf& leaf = b.forward.a.leaves[r];
  const float* dz = b.gradient[r];
  const float* x = b.forward.leaf[r] + t.channel * b.forward.pixels * kLanes;
  float* sums = leaf.sums + b.slot * leaf.sums_slot + t.channel * 2 * kLanes;
  const bool starts = b.first && t.opens;
  int64_t c = t.channel;
  for (int i = 0; i < t.n; i += t.run, c++, sums += 2 * kLanes) {
    Vector of_dz{}, of_product{};
    const Vector mean = Splat(leaf.mean ? leaf.mean[c] : 0.0f);
    for (int j = i; j < i + t.run; j++) {
      const Vector d = Select(b.live, Load(dz + j * kLanes), Vector{});
      of_dz += d;
      if (leaf.kind == kMap) of_product += d * (Select(b.live, Load(x + Place(t, j) * kLanes), Vector{}) - mean);
    }
    Store(sums, starts ? of_dz : Load(sums) + of_dz);
    Store(sums + kLanes, starts ? of_product : Load(sums + kLanes) + of_product);
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

// dL/dx of one pixel of a map.
PELLUCID_INLINE void WritePixel(const MapBack& b, const MapLeaf& leaf, int64_t c, Vector dz, const float* x, float* out) {
  Vector d = dz * ScaleOf(leaf, c);
  if (leaf.factors) {
    const float mean = leaf.mean ? leaf.mean[c] : 0.0f;
    d += (Load(x) - mean) * leaf.factors[2 * c] + leaf.factors[2 * c + 1];
  }
  d = Select(b.live, d, Vector{});
  Store(out, leaf.accumulate ? Load(out) + d : d);
}

PELLUCID_INLINE void WriteMap(const MapBack& b, const Tile& t, int r, float* out) {
  const MapLeaf& leaf = b.forward.a.leaves[r];
  const float* dz = b.gradient[r];
  const float* x = b.forward.leaf[r] + t.channel * b.forward.pixels * kLanes;
  out += t.channel * b.forward.pixels * kLanes;
  int64_t c = t.channel;
  for (int i = 0; i < t.n; i += t.run, c++)
    for (int j = i; j < i + t.run; j++) {
      const int64_t at = Place(t, j) * kLanes;
      WritePixel(b, leaf, c, Load(dz + j * kLanes), x + at, out + at);
    }
}

// Pixels that no window covers: nothing arrives there from above.
void WriteUncovered(const MapBack& b, int r, float* out) {
  const MapArguments& a = b.forward.a;
  const MapLeaf& leaf = a.leaves[r];
  const int64_t rows = a.H / a.pool_h * a.pool_h, columns = a.W / a.pool_w * a.pool_w;
  if ((rows == a.H && columns == a.W) || (leaf.accumulate && !leaf.factors)) return;
  for (int64_t c = 0; c < a.C; c++)
    for (int64_t h = 0; h < a.H; h++)
      for (int64_t w = h < rows ? columns : 0; w < a.W; w++) {
        const int64_t at = ((c * a.H + h) * a.W + w) * kLanes;
        WritePixel(b, leaf, c, Vector{}, b.forward.leaf[r] + at, out + at);
      }
}

void Backward(const MapArguments& a, const PellucidUnits& range, bool sums_only) {
  float* memory = pellucid_lanes_scratch(0, (2 * kRegisters + 1) * kTileFloats);
  float* zeros = memory + 2 * kRegisters * kTileFloats;
  for (int64_t i = 0; i < kTileFloats; i++) zeros[i] = 0.0f;
  MapBack b{{a, int64_t(a.H) * a.W, memory, {}, {}, {}}, memory + kRegisters * kTileFloats, {}, zeros, {}, {}, {}, {},
            range.slot, false};
  Plan(b, sums_only);
  for (int64_t g = range.begin; g < range.end; g++) {
    Begin(b.forward, g);
    b.first = range.first && g == range.begin;
    b.live = LiveLanes(g == a.G - 1 ? a.live : kLanes);
    const float* dy = a.dy + g * a.dy_group;
    EachTile(a, [&](const Tile& t) {
      RunTile(b.forward, t, nullptr);
      for (const float*& gradient : b.gradient) gradient = nullptr;
      Unpool(b, t, dy);
      for (int k = a.instruction_count - 1; k >= 0; k--)
        if (b.needed[a.leaf_count + k] && b.gradient[a.leaf_count + k]) Back(b, t, k);
      for (int r = 0; r < a.leaf_count; r++) {
        if (!b.gradient[r]) b.gradient[r] = zeros;
        const MapLeaf& leaf = a.leaves[r];
        float* out = b.writes[r] ? leaf.gradient + g * leaf.gradient_group : nullptr;
        if (b.sums[r]) AddSums(b, t, r);
        if (out && leaf.kind == kMap) WriteMap(b, t, r, out);
        if (out && leaf.kind == kGate) WriteGate(b, t, leaf, b.gradient[r], out);
      }
    });
    for (int r = 0; HasWindows(a) && r < a.leaf_count; r++)
      if (b.writes[r] && a.leaves[r].kind == kMap)
        WriteUncovered(b, r, a.leaves[r].gradient + g * a.leaves[r].gradient_group);
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

// Units: blocks of 16 channels, or one if the parameter is shared. The gradients of an affine's or of a single parameter.
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
