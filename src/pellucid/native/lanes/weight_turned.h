// The weight's gradient with features in the lanes, for convolutions of many channels.
//
//   dw[k, c .. c + L, r, s] = sum over n, p, q of splat(dy[n, k, p, q]) x[n, p ..., q ..., c .. c + L]
//
// A tile of x is turned to [H][W][pictures][c] for a panel of kPanelVectors L channels; that costs a few instructions for
// each vector of x, which serves all kernels and taps. dy is splat from where it is. A block of registers is some kernels
// times the panel's vectors for one tap over the whole tile, so that nothing has to be added over lanes, and rows may be as
// short as they like. Columns and rows that padding would multiply are left out by the loops' bounds.
#pragma once

#include "weight_gradient.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int64_t kTurnedPixels = 128;                   // of dy in a tile
constexpr int kPanelVectors = kManyRegisters ? 4 : 2;  // of channels

constexpr int TurnedKernels(int vectors) { return !kManyRegisters || vectors == 4 ? 6 : 8; }

// The part of x that a tile needs, turned: rows x columns pixels of each group, from row `first` of x on, `step_h` and
// `step_w` rows and columns of x apart. A 1 x 1 kernel needs just the pixels that it meets: one for each of dy.
struct Turned {
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
  return {nullptr, first, Most(0, Least(s.H, last) - first), s.W, 1, 1, false};
}

void Turn(const Shape& s, const Piece& piece, Range channels, int64_t vectors, const Turned& t) {
  float* to = t.x;
  for (int64_t g = piece.tile.first_group; g < piece.tile.last_group; g++)
    for (int64_t row = 0; row < t.rows; row++)
      for (int64_t column = 0; column < t.columns; column++, to += kLanes * vectors * kLanes) {
        const float* from = piece.x + g * s.x_group + (t.first + row * t.step_h) * s.x_row + column * t.step_w * kLanes;
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

// Pixels that follow each other, all their pictures.
template <int KB, int V>
PELLUCID_INLINE void Run(Vector (&sum)[KB][V], const float* x, const float* y, int64_t y_channel, int64_t steps) {
  for (; steps > 0; steps--, x += V * kLanes, y++) {
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

// One tap: KB kernels (dy of the tile's first group from y on) times the panel's V vectors, over a tile.
template <int KB, int V>
PELLUCID_INLINE void Tap(Vector (&sum)[KB][V], const Shape& s, const Tile& tile, const Turned& t, const float* dy, int64_t r,
                         int64_t tap) {
  constexpr int64_t kPixel = kLanes * V * kLanes;
  const int64_t down = r * s.dilation_h - s.pad_h, across = tap * s.dilation_w - s.pad_w;
  const Range inside = Inside(s.P, s.H, s.stride_h, down), columns = Inside(s.Q, s.W, s.stride_w, across);
  const Range rows = {Most(inside.first, tile.first_row), Least(inside.last, tile.last_row)};
  for (int64_t g = 0; g < tile.groups(); g++, dy += s.y_group)
    if (t.one_each) {
      Run<KB, V>(sum, t.x + g * t.rows * t.columns * kPixel, dy + tile.first_row * s.y_row, s.y_channel,
                 t.rows * t.columns * kLanes);
    } else {
      for (int64_t p = rows.first; p < rows.last; p++) {
        const int64_t row = g * t.rows + p * s.stride_h + down - t.first;
        const float* x = t.x + (row * t.columns + columns.first * s.stride_w + across) * kPixel;
        const float* y = dy + p * s.y_row + columns.first * kLanes;
        const int64_t pixels = s.stride_w == 1 ? 1 : columns.size(), steps = s.stride_w == 1 ? columns.size() * kLanes : kLanes;
        for (int64_t q = 0; q < pixels; q++, x += s.stride_w * kPixel, y += kLanes)
          Run<KB, V>(sum, x, y, s.y_channel, steps);
      }
    }
}

// KB kernels from `kernel` on and the panel's V vectors, all taps, over a tile: to out[KB][R S][V L].
template <int KB, int V>
void TurnedSums(const Shape& s, const Piece& piece, const Turned& t, int64_t kernel, float* out) {
  const float* dy = piece.y + piece.tile.first_group * s.y_group + kernel * s.y_channel;
  for (int64_t r = 0; r < s.R; r++)
    for (int64_t tap = 0; tap < s.S; tap++) {
      Vector sum[KB][V] = {};
      Tap<KB, V>(sum, s, piece.tile, t, dy, r, tap);
      PELLUCID_UNROLL(8)
      for (int k = 0; k < KB; k++)
        PELLUCID_UNROLL(8)
        for (int i = 0; i < V; i++) Store(out + ((k * s.R + r) * s.S + tap) * V * kLanes + i * kLanes, sum[k][i]);
    }
}

typedef void (*TurnedFunction)(const Shape&, const Piece&, const Turned&, int64_t, float*);

template <int V, int KB = TurnedKernels(V)>
TurnedFunction ChooseTurned(int64_t kernels) {
  if constexpr (KB > 1)
    if (kernels < KB) return ChooseTurned<V, KB - 1>(kernels);
  return TurnedSums<KB, V>;
}

// All kernels of a piece with one panel of channels.
template <int V>
void AddPanel(const Shape& s, const Piece& piece, Range channels, Turned t, float* w) {
  if constexpr (V <= kPanelVectors) {
    const int64_t taps = s.R * s.S, width = V * kLanes;
    Turn(s, piece, channels, V, t);
    float* out = pellucid_lanes_scratch(0, TurnedKernels(V) * taps * width);
    const int64_t blocks = DivideUp(piece.kernels.size(), TurnedKernels(V));
    for (int64_t b = 0; b < blocks; b++) {
      const Range block = Part(piece.kernels, b, blocks);
      ChooseTurned<V>(block.size())(s, piece, t, block.first, out);
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
  for (int64_t i = 0; i < panels; i++) {
    const Range part = Part({0, vectors}, i, panels);
    const Range channels = {piece.channels.first + part.first * kLanes,
                            Least(piece.channels.last, piece.channels.first + part.last * kLanes)};
    switch (part.size()) {
      case 1: AddPanel<1>(s, piece, channels, t, w); break;
      case 2: AddPanel<2>(s, piece, channels, t, w); break;
      case 3: AddPanel<3>(s, piece, channels, t, w); break;
      default: AddPanel<4>(s, piece, channels, t, w); break;
    }
  }
}

// Whether turning x pays: most lanes must hold a channel, and each vector of x must serve many multiply-adds.
bool TurningPays(const Shape& s) {
  const int64_t used = s.C * 4, full = RoundUp(s.C, kLanes) * 3;
  const int64_t uses = s.R == 1 && s.S == 1 ? s.K : s.K * s.R * s.S / (s.stride_h * s.stride_w);
  return s.C >= kLanes && used >= full && uses >= 48;
}

}  // namespace

}  // namespace pellucid::lanes::PELLUCID_ISA
