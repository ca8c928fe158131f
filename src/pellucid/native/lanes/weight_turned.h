// The weight's gradient with features in the lanes, for convolutions of many channels.
//
//   dw[k, c .. c + L, r, s] = sum over n, p, q of splat(dy[n, k, p, q]) x[n, p ..., q ..., c .. c + L]
//
// A tile of x is turned to [H][W][pictures][c] for a panel of kPanelVectors L channels; that costs a few instructions
// for each vector of x, which serves all kernels and taps. dy is splat from where it is. A block of registers is some
// kernels times the panel's vectors for one tap over the whole tile, so that nothing has to be added over lanes, and
// rows may be as short as they like. Columns and rows that padding would multiply are left out by the loops' bounds.
#pragma once

#include "weight_gradient.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int64_t kTurnedPixels = 128;                 // of dy in a tile, at most
constexpr int64_t kTurnedFloats = 13 << 14;            // of a panel of x: 832 KB of L2
constexpr int64_t kTurnedKernels = 3 << 16;            // floats of dy in a tile, where they can be so few: 768 KB
constexpr int kPanelVectors = kManyRegisters ? 4 : 2;  // of channels

constexpr int TurnedKernels(int vectors) { return !kManyRegisters || vectors == 4 ? 6 : 8; }

// The part of x that a tile needs, turned: rows x columns pixels of each group, from row `first` of x on, `step_h` and
// `step_w` rows and columns of x apart. A 1 x 1 kernel needs just the pixels that it meets: one for each of dy.
// Otherwise columns stand in stride_w parts, so that those that one tap meets follow each other.
struct Turned {
  int64_t Column(const Shape& s, int64_t column) const {  // where a column of x stands
    return one_each ? column : column % s.stride_w * (columns / s.stride_w) + column / s.stride_w;
  }

  float* x;  // [groups][rows][columns][L][vectors L]
  int64_t first, rows, columns, step_h, step_w;
  bool one_each;
};

Turned TurnedOf(const Shape& s, const Tile& tile) {
  const bool inside = (s.P - 1) * s.stride_h < s.H && (s.Q - 1) * s.stride_w < s.W;
  if (s.R == 1 && s.S == 1 && !s.pad_h && !s.pad_w && inside)
    return {nullptr, tile.first_row * s.stride_h, tile.rows(), s.Q, s.stride_h, s.stride_w, true};
  const int64_t first = Least(s.H, Most(0, tile.first_row * s.stride_h - s.pad_h));
  const int64_t last = (tile.last_row - 1) * s.stride_h + (s.R - 1) * s.dilation_h - s.pad_h + 1;
  return {nullptr, first, Most(0, Least(s.H, last) - first), RoundUp(s.W, s.stride_w), 1, 1, false};
}

void Turn(const Shape& s, const Piece& piece, Range channels, int64_t vectors, const Turned& t) {
  float* line = t.x;
  const int64_t columns = t.one_each ? t.columns : s.W;
  for (int64_t g = piece.tile.first_group; g < piece.tile.last_group; g++)
    for (int64_t row = 0; row < t.rows; row++, line += t.columns * kLanes * vectors * kLanes)
      for (int64_t column = 0; column < columns; column++) {
        const float* from = piece.x + g * s.x_group + (t.first + row * t.step_h) * s.x_row + column * t.step_w * kLanes;
        float* to = line + t.Column(s, column) * kLanes * vectors * kLanes;
        for (int64_t v = 0; v < vectors; v++) {
          const int64_t c = channels.first + v * kLanes, count = Least(kLanes, channels.last - c);
          Vector a[kLanes];
          if (count == kLanes) {
            PELLUCID_UNROLL(16)
            for (int i = 0; i < kLanes; i++) a[i] = Load(from + (c + i) * s.x_channel);
          } else {
            for (int64_t i = 0; i < kLanes; i++) a[i] = i < count ? Load(from + (c + i) * s.x_channel) : Vector{};
          }
          Transpose(a);
          PELLUCID_UNROLL(16)
          for (int i = 0; i < kLanes; i++) Store(to + (i * vectors + v) * kLanes, a[i]);
        }
      }
}

// What is needed soon, fetched into L2 a few lines at a time while the sums go on: some lines of each channel of each
// group.
struct Fetch {
  const float* base;
  int64_t channel_step, group_step;
  int64_t lines, channels, groups;
  int64_t at_once;
  int64_t line, channel, group;
};

constexpr int64_t kLine = 16;      // floats
constexpr int64_t kRunPixels = 4;  // between two steps of fetching

PELLUCID_INLINE void FetchSome(Fetch& f) {
  for (int64_t i = 0; i < f.at_once; i++) {
    __builtin_prefetch(f.base + f.line * kLine, 0, 2);
    if (++f.line < f.lines) continue;
    f.line = 0, f.base += f.channel_step;
    if (++f.channel < f.channels) continue;
    f.channel = 0, f.base += f.group_step - f.channels * f.channel_step;
    if (++f.group == f.groups) f.at_once = 0;
  }
}

// How many steps a block of kernels takes: of fetching, about.
int64_t FetchSteps(const Shape& s, const Tile& tile, const Turned& t) {
  if (t.one_each) return tile.groups() * DivideUp(tile.rows() * s.Q, kRunPixels);
  return tile.groups() * tile.rows() * s.R * s.S * DivideUp(s.Q, kRunPixels);
}

// x of some channels in a tile, but for the rows before `known`.
Fetch FetchChannels(const Shape& s, const Piece& piece, const Tile& tile, Range channels, int64_t known,
                    int64_t steps) {
  const Turned t = TurnedOf(s, tile);
  const int64_t first = Most(t.first, known), rows = Least(s.H, t.first + t.rows * t.step_h) - first;
  const float* base = piece.x + tile.first_group * s.x_group + channels.first * s.x_channel + first * s.x_row;
  const int64_t lines = Most(0, DivideUp(rows * s.x_row, kLine)), all = lines * channels.size() * tile.groups();
  const int64_t at_once = all > 0 ? DivideUp(all, steps) : 0;
  return {base, s.x_channel, s.x_group, lines, channels.size(), tile.groups(), at_once, 0, 0, 0};
}

// Pixels that follow each other, all their pictures.
template <int KB, int V>
PELLUCID_INLINE void Run(Vector (&sum)[KB][V], const float* x, const float* y, int64_t y_channel, int64_t pixels,
                         Fetch& fetch) {
  for (; pixels > 0; pixels -= kRunPixels) {
    FetchSome(fetch);
    for (int64_t steps = Least(pixels, kRunPixels) * kLanes; steps > 0; steps--, x += V * kLanes, y++) {
      Vector v[V];
      PELLUCID_UNROLL(8)
      for (int i = 0; i < V; i++) v[i] = LoadOnce(x + i * kLanes);
      PELLUCID_UNROLL(8)
      for (int k = 0; k < KB; k++) {
        const Vector d = V > 1 ? InRegister(y[k * y_channel]) : Splat(y[k * y_channel]);
        PELLUCID_UNROLL(8)
        for (int i = 0; i < V; i++) sum[k][i] += d * v[i];
      }
    }
  }
}

// One tap: KB kernels (dy of the tile's first group from y on) times the panel's V vectors, over a tile.
template <int KB, int V>
PELLUCID_INLINE void Tap(Vector (&sum)[KB][V], const Shape& s, const Tile& tile, const Turned& t, const float* dy,
                         int64_t r, int64_t tap, Fetch& fetch) {
  constexpr int64_t kPixel = kLanes * V * kLanes;
  const int64_t down = r * s.dilation_h - s.pad_h, across = tap * s.dilation_w - s.pad_w;
  const Range inside = Inside(s.P, s.H, s.stride_h, down), columns = Inside(s.Q, s.W, s.stride_w, across);
  const Range rows = {Most(inside.first, tile.first_row), Least(inside.last, tile.last_row)};
  if (columns.size() == 0) return;
  for (int64_t g = 0; g < tile.groups(); g++, dy += s.y_group)
    if (t.one_each) {
      Run<KB, V>(sum, t.x + g * t.rows * t.columns * kPixel, dy + tile.first_row * s.y_row, s.y_channel,
                 t.rows * t.columns, fetch);
    } else {
      for (int64_t p = rows.first; p < rows.last; p++) {
        const int64_t row = g * t.rows + p * s.stride_h + down - t.first;
        const float* x = t.x + (row * t.columns + t.Column(s, columns.first * s.stride_w + across)) * kPixel;
        Run<KB, V>(sum, x, dy + p * s.y_row + columns.first * kLanes, s.y_channel, columns.size(), fetch);
      }
    }
}

// KB kernels from `kernel` on and the panel's V vectors, all taps, over a tile: to out[KB][R S][V L].
template <int KB, int V>
void TurnedSums(const Shape& s, const Piece& piece, const Turned& t, int64_t kernel, float* out, Fetch& fetch) {
  const float* dy = piece.y + piece.tile.first_group * s.y_group + kernel * s.y_channel;
  for (int64_t r = 0; r < s.R; r++)
    for (int64_t tap = 0; tap < s.S; tap++) {
      Vector sum[KB][V] = {};
      Tap<KB, V>(sum, s, piece.tile, t, dy, r, tap, fetch);
      PELLUCID_UNROLL(8)
      for (int k = 0; k < KB; k++)
        PELLUCID_UNROLL(8)
        for (int i = 0; i < V; i++) Store(out + ((k * s.R + r) * s.S + tap) * V * kLanes + i * kLanes, sum[k][i]);
    }
}

typedef void (*TurnedFunction)(const Shape&, const Piece&, const Turned&, int64_t, float*, Fetch&);

template <int V, int KB = TurnedKernels(V)>
TurnedFunction ChooseTurned(int64_t kernels) {
  if constexpr (KB > 1)
    if (kernels < KB) return ChooseTurned<V, KB - 1>(kernels);
  return TurnedSums<KB, V>;
}

// All kernels of a piece with one panel of channels. after: the panel that comes next, in tile `next`.
template <int V>
void AddPanel(const Shape& s, const Piece& piece, Range channels, Turned t, const Tile& next, Range after, float* w) {
  if constexpr (V <= kPanelVectors) {
    const int64_t taps = s.R * s.S, width = V * kLanes;
    Turn(s, piece, channels, V, t);
    float* out = pellucid_lanes_scratch(0, TurnedKernels(V) * taps * width);
    const int64_t blocks = DivideUp(piece.kernels.size(), TurnedKernels(V));
    const int64_t steps = FetchSteps(s, piece.tile, t);
    const bool goes_on = next.first_group == piece.tile.first_group && next.first_row > piece.tile.first_row;
    Fetch fetch{};
    if (s.is_far && t.step_h == 1)
      fetch = FetchChannels(s, piece, next, after, goes_on ? t.first + t.rows * t.step_h : 0, steps * blocks);
    for (int64_t b = 0; b < blocks; b++) {
      const Range block = Part(piece.kernels, b, blocks);
      ChooseTurned<V>(block.size())(s, piece, t, block.first, out, fetch);
      for (int64_t k = 0; k < block.size(); k++) {
        float* to = w + ((block.first + k) * s.C + channels.first) * taps;
        const float* sums = out + k * taps * width;
        if (taps == 1) AddRow(sums, channels.size(), to);
        for (int64_t c = 0; taps > 1 && c < channels.size(); c++)
          for (int64_t tap = 0; tap < taps; tap++) to[c * taps + tap] += sums[tap * width + c];
      }
    }
  }
}

// dw of a piece, added to w (of the convolution group).
void AddTurned(const Shape& s, const Piece& piece, float* w) {
  const int64_t vectors = DivideUp(piece.channels.size(), kLanes), panels = DivideUp(vectors, kPanelVectors);
  Turned t = TurnedOf(s, piece.tile);
  t.x = pellucid_lanes_scratch(1, piece.tile.groups() * t.rows * t.columns * kLanes * kPanelVectors * kLanes);
  const auto panel = [&](int64_t i) -> Range {
    const Range part = Part({0, vectors}, i, panels);
    return {piece.channels.first + part.first * kLanes,
            Least(piece.channels.last, piece.channels.first + part.last * kLanes)};
  };
  for (int64_t i = 0; i < panels; i++) {
    const bool is_end = i + 1 == panels;
    const Range channels = panel(i), after = panel(is_end ? 0 : i + 1);
    const Tile& next = is_end ? piece.next : piece.tile;
    switch (DivideUp(channels.size(), kLanes)) {
      case 1: AddPanel<1>(s, piece, channels, t, next, after, w); break;
      case 2: AddPanel<2>(s, piece, channels, t, next, after, w); break;
      case 3: AddPanel<3>(s, piece, channels, t, next, after, w); break;
      default: AddPanel<4>(s, piece, channels, t, next, after, w); break;
    }
  }
}

// Whether so many rows of dy make a good tile.
bool TurnedFits(const Shape& s, int64_t rows) {
  const int64_t vectors = Least(kPanelVectors, DivideUp(s.C, kLanes)), pixels = rows * s.Q;
  const int64_t x_pixels = s.R * s.S == 1 ? pixels : (rows * s.stride_h + (s.R - 1) * s.dilation_h) * s.W;
  return x_pixels * vectors * kLanes * kLanes <= kTurnedFloats &&
         pixels <= Most(kTurnedPixels / 2, Least(kTurnedPixels, kTurnedKernels / (s.K * kLanes)));
}

// Whether turning x pays: most lanes must hold a channel, and each vector of x must serve many multiply-adds.
bool TurningPays(const Shape& s) {
  const int64_t used = s.C * 4, full = RoundUp(s.C, kLanes) * 3;
  const int64_t uses = s.R == 1 && s.S == 1 ? s.K : s.K * s.R * s.S / (s.stride_h * s.stride_w);
  return s.C >= kLanes && used >= full && uses >= 48;
}

}  // namespace

}  // namespace pellucid::lanes::PELLUCID_ISA
