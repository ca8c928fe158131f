// Tiles of a map: up to kTile pixels of one lane group that the instructions are run over while they lie in the L1
// cache, one tile of numbers for each register.
//
// Without pooling a tile is a run of pixels as they lie in memory, of one channel or of several whole ones. With
// windows it is some windows of one channel, tap by tap: the first tap of all its windows, then the second, and so on;
// `at` says where each pixel lies in its channel.
#pragma once

#include "map_instructions.h"

namespace pellucid::lanes::PELLUCID_ISA {

constexpr int kTile = 32;
constexpr int kRegisters = kMapLeaves + kMapInstructions;
constexpr int64_t kTileFloats = int64_t(kTile) * kLanes;

enum MapKind : int32_t { kMap, kGate, kParameter, kShared };
enum MapPool : int32_t { kNoPool, kMaxPool, kAveragePool, kPlanePool };

PELLUCID_INLINE bool HasWindows(const MapArguments& a) { return a.pool == kMaxPool || a.pool == kAveragePool; }

struct Tile {
  int n;             // pixels
  int run;           // pixels of each channel: n, or fewer where the tile holds several whole channels
  int64_t channel;   // the first
  int64_t first;     // the first pixel, in its channel
  int64_t window;    // the first window, in its channel
  int windows;       // how many
  bool opens;        // whether the tile is the first of its channel
  bool scattered;    // whether `at` holds
  int32_t at[kTile];
};

// Calls use(tile) for every tile of a lane group, in order.
template <class Use>
PELLUCID_INLINE void EachTile(const MapArguments& a, Use&& use) {
  Tile t;
  const int64_t pixels = int64_t(a.H) * a.W;
  t.scattered = HasWindows(a);
  if (t.scattered) {
    const int taps = a.pool_h * a.pool_w, most = kTile / taps;
    const int32_t Q = a.W / a.pool_w, windows = a.H / a.pool_h * Q;
    int32_t of_tap[kTile], corner = 0, q = 0;  // pixels from a window's first, that pixel, and its place in the row
    for (int tap = 0; tap < taps; tap++) of_tap[tap] = tap / a.pool_w * a.W + tap % a.pool_w;
    for (t.channel = 0; t.channel < a.C; t.channel++, corner = 0)
      for (t.window = 0; t.window < windows; t.window += t.windows) {
        t.windows = int(Least(most, windows - t.window));
        t.n = t.run = t.windows * taps;
        t.first = 0;
        t.opens = t.window == 0;
        for (int i = 0; i < t.windows; i++) {
          for (int tap = 0; tap < taps; tap++) t.at[tap * t.windows + i] = corner + of_tap[tap];
          corner += a.pool_w;
          if (++q == Q) {
            q = 0;
            corner += a.pool_h * a.W - Q * a.pool_w;
          }
        }
        use(t);
      }
    return;
  }
  t.window = t.windows = 0;
  if (pixels <= kTile / 2) {
    const int64_t whole = kTile / pixels;
    for (t.channel = 0; t.channel < a.C; t.channel += whole) {
      t.run = int(pixels);
      t.n = int(Least(whole, a.C - t.channel) * pixels);
      t.first = 0;
      t.opens = true;
      use(t);
    }
    return;
  }
  const int64_t parts = (pixels + kTile - 1) / kTile;
  for (t.channel = 0; t.channel < a.C; t.channel++)
    for (int64_t part = 0; part < parts; part++) {
      t.first = pixels * part / parts;
      t.n = t.run = int(pixels * (part + 1) / parts - t.first);
      t.opens = part == 0;
      use(t);
    }
}

// What one lane group's tiles are computed with.
struct MapState {
  const MapArguments& a;
  int64_t pixels;
  float* values;                       // [kRegisters][kTileFloats]
  const float* value[kRegisters];      // where each register's numbers are: in `values`, or in the leaf itself
  const float* leaf[kMapLeaves];       // each leaf's numbers of this group
  Dropout dropouts[kMapInstructions];  // of those instructions that are a dropout
  bool asked[kRegisters];              // whether a register's value is needed
};

PELLUCID_INLINE void Begin(MapState& s, int64_t group) {
  for (int r = 0; r < s.a.leaf_count; r++) s.leaf[r] = s.a.leaves[r].x + group * s.a.leaves[r].x_group;
  for (int k = 0; k < s.a.instruction_count; k++)
    if (s.a.instructions[k].code == kDropout) s.dropouts[k].Begin(s.a.instructions[k], group);
}

PELLUCID_INLINE float* OwnValue(const MapState& s, int r) { return s.values + r * kTileFloats; }
PELLUCID_INLINE float ScaleOf(const MapLeaf& leaf, int64_t c) { return leaf.scale ? leaf.scale[c] : 1.0f; }
PELLUCID_INLINE float ShiftOf(const MapLeaf& leaf, int64_t c) { return leaf.shift ? leaf.shift[c] : 0.0f; }

PELLUCID_INLINE void ReadLeaf(MapState& s, const Tile& t, int r) {
  const MapLeaf& leaf = s.a.leaves[r];
  float* out = OwnValue(s, r);
  s.value[r] = out;
  if (leaf.kind != kMap) {
    for (int i = 0, c = int(t.channel); i < t.n; i += t.run, c++) {
      const Vector v = leaf.kind == kGate ? Load(s.leaf[r] + int64_t(c) * kLanes)
                                          : Splat(s.leaf[r][leaf.kind == kShared ? 0 : c]);
      for (int j = i; j < i + t.run; j++) Store(out + j * kLanes, v);
    }
    return;
  }
  const float* in = s.leaf[r] + (t.channel * s.pixels + t.first) * kLanes;
  const bool affine = leaf.scale || leaf.shift;
  if (t.scattered) {
    const Vector scale = Splat(ScaleOf(leaf, t.channel)), shift = Splat(ShiftOf(leaf, t.channel));
    if (affine)
      for (int i = 0; i < t.n; i++) Store(out + i * kLanes, Load(in + int64_t(t.at[i]) * kLanes) * scale + shift);
    else
      for (int i = 0; i < t.n; i++) Store(out + i * kLanes, Load(in + int64_t(t.at[i]) * kLanes));
  } else if (affine) {
    for (int i = 0, c = int(t.channel); i < t.n; i += t.run, c++) {
      const Vector scale = Splat(ScaleOf(leaf, c)), shift = Splat(ShiftOf(leaf, c));
      for (int j = i; j < i + t.run; j++) Store(out + j * kLanes, Load(in + j * kLanes) * scale + shift);
    }
  } else {
    s.value[r] = in;
  }
}

// The place of a tile's number in its picture, as dropout counts: by number, by channel, or one for all.
PELLUCID_INLINE int64_t Element(const MapState& s, const Tile& t, const MapInstruction& in, int i) {
  const int64_t channel = t.channel + i / t.run;
  if (in.b == 1.0f) return channel;
  if (in.b == 2.0f) return 0;
  return t.channel * s.pixels + t.first + (t.scattered ? t.at[i] : i);
}

PELLUCID_INLINE void Drop(const MapState& s, const Tile& t, const MapInstruction& in, const Dropout& drop,
                          const float* x, float* out) {
  for (int i = 0; i < t.n; i++) Store(out + i * kLanes, drop(Load(x + i * kLanes), Element(s, t, in, i)));
}

// Runs the instructions over a tile, those whose values are asked for; the last one's result goes to `result` if that
// is not null.
static void RunTile(MapState& s, const Tile& t, float* result) {
  const int leaves = s.a.leaf_count, instructions = s.a.instruction_count, n = t.n;
  for (int r = 0; r < leaves; r++)
    if (s.asked[r]) ReadLeaf(s, t, r);
  for (int k = 0; k < instructions; k++) {
    if (!s.asked[leaves + k]) continue;
    const MapInstruction& in = s.a.instructions[k];
    float* out = result && k == instructions - 1 ? result : OwnValue(s, leaves + k);
    s.value[leaves + k] = out;
    const float* l = s.value[in.left];
    if (in.code == kDropout) {
      Drop(s, t, in, s.dropouts[k], l, out);
    } else if (IsBinary(in)) {
      const float* r = s.value[in.right];
      WithBinary(in, [=](auto f) {
        for (int i = 0; i < n; i++) Store(out + i * kLanes, f(Load(l + i * kLanes), Load(r + i * kLanes)));
      });
    } else {
      WithUnary(in, [=](auto f) {
        for (int i = 0; i < n; i++) Store(out + i * kLanes, f(Load(l + i * kLanes)));
      });
    }
  }
}


}  // namespace pellucid::lanes::PELLUCID_ISA
