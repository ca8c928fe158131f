// Maps: expressions over feature maps, number by number, with an affine or a gate on the leaves and pooling at the end.
#include "map_fast.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

// The largest or the sum of each window, of numbers that lie tap by tap.
PELLUCID_INLINE void PoolTile(const MapArguments& a, const Tile& t, const float* x, float* y) {
  const int taps = a.pool_h * a.pool_w;
  const float part = 1.0f / float(taps);
  for (int i = 0; i < t.windows; i++) {
    Vector v = Load(x + i * kLanes);
    if (a.pool == kMaxPool)
      for (int tap = 1; tap < taps; tap++) v = Max(Load(x + (tap * t.windows + i) * kLanes), v);
    else
      for (int tap = 1; tap < taps; tap++) v += Load(x + (tap * t.windows + i) * kLanes);
    Store(y + i * kLanes, a.pool == kMaxPool ? v : v * part);
  }
}

// Adds a tile to its channels' averages over the plane.
PELLUCID_INLINE void PoolPlane(const Tile& t, int64_t pixels, const float* x, float* y) {
  const float part = 1.0f / float(pixels);
  for (int i = 0; i < t.n; i += t.run, y += kLanes) {
    Vector v = t.opens ? Vector{} : Load(y);
    for (int j = i; j < i + t.run; j++) v += Load(x + j * kLanes);
    Store(y, t.first + t.run == pixels ? v * part : v);
  }
}

}  // namespace

// By groups: y = pooling of the expression of the leaves.
void MapForward(const void* arguments, const PellucidUnits* range) {
  const MapArguments& a = *static_cast<const MapArguments*>(arguments);
  const int64_t pixels = int64_t(a.H) * a.W;
  const int last = a.leaf_count + a.instruction_count - 1;
  MapState s{a, pixels, pellucid_lanes_scratch(0, kRegisters * kTileFloats), {}, {}, {}, {}};
  for (bool& asked : s.asked) asked = true;
  for (int64_t g = range->begin; g < range->end; g++) {
    Begin(s, g);
    float* y = a.y + g * a.y_group;
    if (IsFast(a)) {
      WithFast(a, [&](auto f) { FastForward(a, s.leaf[0], y, f); });
      continue;
    }
    const int64_t windows = HasWindows(a) ? int64_t(a.H / a.pool_h) * (a.W / a.pool_w) : 0;
    EachTile(a, [&](const Tile& t) {
      float* out = y + (t.channel * pixels + t.first) * kLanes;
      RunTile(s, t, a.pool == kNoPool ? out : nullptr);
      const float* x = s.value[last];
      if (a.pool == kNoPool) {
        if (a.instruction_count == 0)
          for (int i = 0; i < t.n; i++) Store(out + i * kLanes, Load(x + i * kLanes));
      } else if (a.pool == kPlanePool) {
        PoolPlane(t, pixels, x, y + t.channel * kLanes);
      } else {
        PoolTile(a, t, x, y + (t.channel * windows + t.window) * kLanes);
      }
    });
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
