// Winograd's transforms of one tile, on vectors of pictures. In one dimension, for an output of M numbers and 3
// weights:
//   y = A' [(G w) * (B' x)]     with M + 2 products, and backwards     dL/dw = G' [(A dL/dy) * (B' x)];
// in two dimensions once along each axis. The points of M = 4 are 0, +-1/sqrt(2), +-sqrt(2) and infinity: two to three
// times as accurate as the usual 0, +-1, +-2. Those of M = 2 are 0, +-1, infinity.
//
// Rows of points come in pairs that share their work and let all numbers stay in registers: (0, last), (1, 2), (3, 4).
#pragma once

#include "vector.h"

namespace pellucid::lanes::PELLUCID_ISA {
namespace {

template <int M>
struct Winograd;

template <>
struct Winograd<4> {
  static constexpr int kSize = 6, kPairs = 3;
  static constexpr double a1 = 0.70710678118654752, b1 = 1.41421356237309505;
  static constexpr float a = a1, a2 = 0.5, a3 = 0.5 * a1, b = b1, b2 = 2, b3 = 2 * b1;
  static constexpr float n0 = 1, na = 1 / (2 * 0.5 * (0.5 - 2)), nb = 1 / (2 * 2 * (2 - 0.5));

  // Points of pair i of B' x; `x(i)` loads number i of 6.
  template <int PAIR, typename X>
  PELLUCID_INLINE void Input(const X& x, Vector& first, Vector& second) {
    if constexpr (PAIR == 0) {
      const Vector x2 = x(2), x3 = x(3);
      first = (x(0) + x(4)) - x2 * 2.5f;
      second = (x(1) + x(5)) - x3 * 2.5f;
    } else {
      const Vector e = x(4) - x(2) * (PAIR == 1 ? b2 : a2), o = x(3) - x(1) * (PAIR == 1 ? b2 : a2);
      first = e + o * (PAIR == 1 ? a : b);
      second = e - o * (PAIR == 1 ? a : b);
    }
  }
  // A' m
  template <typename Y>
  PELLUCID_INLINE void Output(const Vector* m, Y* y) {
    const Vector s1 = m[1] + m[2], d1 = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
    y[0] = m[0] + s1 + s2;
    y[1] = d1 * a + d2 * b;
    y[2] = s1 * a2 + s2 * b2;
    y[3] = d1 * a3 + d2 * b3 + m[5];
  }
  // Points of pair i of A y; `y(i)` loads number i of 4.
  template <int PAIR, typename Y>
  PELLUCID_INLINE void OutputGradient(const Y& y, Vector& first, Vector& second) {
    if constexpr (PAIR == 0) {
      first = y(0);
      second = y(3);
    } else {
      const Vector e = y(0) + y(2) * (PAIR == 1 ? a2 : b2);
      const Vector o = y(1) * (PAIR == 1 ? a : b) + y(3) * (PAIR == 1 ? a3 : b3);
      first = e + o;
      second = e - o;
    }
  }
  // G g
  PELLUCID_INLINE void Weight(const Vector* g, Vector* u) {
    u[0] = g[0] * n0;
    Vector e = (g[0] + g[2] * a2) * na, o = g[1] * float(a1 / (2 * 0.5 * (0.5 - 2)));
    u[1] = e + o;
    u[2] = e - o;
    e = (g[0] + g[2] * b2) * nb;
    o = g[1] * float(b1 / (2 * 2 * (2 - 0.5)));
    u[3] = e + o;
    u[4] = e - o;
    u[5] = g[2];
  }
  // G' u
  PELLUCID_INLINE void WeightGradient(const Vector* u, Vector* g) {
    const Vector s1 = (u[1] + u[2]) * na, d1 = (u[1] - u[2]) * na, s2 = (u[3] + u[4]) * nb, d2 = (u[3] - u[4]) * nb;
    g[0] = u[0] + s1 + s2;
    g[1] = d1 * a + d2 * b;
    g[2] = s1 * a2 + s2 * b2 + u[5];
  }
};

template <>
struct Winograd<2> {
  static constexpr int kSize = 4, kPairs = 2;

  template <int PAIR, typename X>
  PELLUCID_INLINE void Input(const X& x, Vector& first, Vector& second) {
    const Vector x1 = x(1), x2 = x(2);
    if constexpr (PAIR == 0) {
      first = x(0) - x2;
      second = x(3) - x1;
    } else {
      first = x1 + x2;
      second = x2 - x1;
    }
  }
  template <typename Y>
  PELLUCID_INLINE void Output(const Vector* m, Y* y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] + m[3];
  }
  template <int PAIR, typename Y>
  PELLUCID_INLINE void OutputGradient(const Y& y, Vector& first, Vector& second) {
    const Vector y0 = y(0), y1 = y(1);
    first = PAIR == 0 ? y0 : y0 + y1;
    second = PAIR == 0 ? y1 : y0 - y1;
  }
  PELLUCID_INLINE void Weight(const Vector* g, Vector* u) {
    const Vector e = (g[0] + g[2]) * 0.5f, o = g[1] * 0.5f;
    u[0] = g[0];
    u[1] = e + o;
    u[2] = e - o;
    u[3] = g[2];
  }
  PELLUCID_INLINE void WeightGradient(const Vector* u, Vector* g) {
    const Vector s = (u[1] + u[2]) * 0.5f;
    g[0] = u[0] + s;
    g[1] = (u[1] - u[2]) * 0.5f;
    g[2] = s + u[3];
  }
};

// The rows of a pair.
template <int M>
constexpr int FirstRow(int pair) {
  return pair == 0 ? 0 : 2 * pair - 1;
}
template <int M>
constexpr int SecondRow(int pair) {
  return pair == 0 ? M + 1 : 2 * pair;
}

// All points of one row from its numbers: B' along the row.
template <int M>
PELLUCID_INLINE void InputRow(const Vector* x, Vector* points) {
  const auto number = [x](int i) { return x[i]; };
  Winograd<M>::template Input<0>(number, points[0], points[M + 1]);
  Winograd<M>::template Input<1>(number, points[1], points[2]);
  if constexpr (M == 4) Winograd<M>::template Input<2>(number, points[3], points[4]);
}
template <int M>
PELLUCID_INLINE void OutputGradientRow(const Vector* y, Vector* points) {
  const auto number = [y](int i) { return y[i]; };
  Winograd<M>::template OutputGradient<0>(number, points[0], points[M + 1]);
  Winograd<M>::template OutputGradient<1>(number, points[1], points[2]);
  if constexpr (M == 4) Winograd<M>::template OutputGradient<2>(number, points[3], points[4]);
}

// A plane of pictures: H x W vectors. Numbers outside are 0.
struct Plane {
  const float* numbers;
  int H, W;
};

alignas(64) constexpr float kZeros[kLanes] = {};

// Where SIZE x SIZE numbers from (h, w) on stand: in the plane itself, or, where some are outside, copied to `edge`.
// `row` becomes the distance of rows in floats.
template <int SIZE>
PELLUCID_INLINE const float* Window(const Plane& plane, int h, int w, float* edge, int64_t& row) {
  if (h >= 0 && w >= 0 && h + SIZE <= plane.H && w + SIZE <= plane.W) {
    row = int64_t(plane.W) * kLanes;
    return plane.numbers + (int64_t(h) * plane.W + w) * kLanes;
  }
  row = SIZE * kLanes;
  for (int i = 0; i < SIZE; i++) {
    const bool inside = h + i >= 0 && h + i < plane.H;
    const float* in = plane.numbers + (int64_t(h + i) * plane.W + w) * kLanes;
    PELLUCID_UNROLL(8)
    for (int j = 0; j < SIZE; j++) {
      const float* from = inside && unsigned(w + j) < unsigned(plane.W) ? in + j * kLanes : kZeros;
      Store(edge + (i * SIZE + j) * kLanes, Load(from));
    }
  }
  return edge;
}

// The points of one pair of rows of an input's tile, given to store(point, vector).
template <int M, int PAIR, typename S>
PELLUCID_INLINE void InputPair(const float* x, int64_t row, const S& store) {
  constexpr int A = M + 2;
  Vector first[A], second[A], points[A];
  PELLUCID_UNROLL(8)
  for (int j = 0; j < A; j++)
    Winograd<M>::template Input<PAIR>([=](int i) { return Load(x + i * row + j * kLanes); }, first[j], second[j]);
  InputRow<M>(first, points);
  PELLUCID_UNROLL(8)
  for (int j = 0; j < A; j++) store(FirstRow<M>(PAIR) * A + j, points[j]);
  InputRow<M>(second, points);
  PELLUCID_UNROLL(8)
  for (int j = 0; j < A; j++) store(SecondRow<M>(PAIR) * A + j, points[j]);
}

// The same for dL/dy's tile of M x M numbers.
template <int M, int PAIR, typename S>
PELLUCID_INLINE void OutputGradientPair(const float* y, int64_t row, const S& store) {
  constexpr int A = M + 2;
  Vector first[M], second[M], points[A];
  PELLUCID_UNROLL(8)
  for (int j = 0; j < M; j++)
    Winograd<M>::template OutputGradient<PAIR>([=](int i) { return Load(y + i * row + j * kLanes); }, first[j],
                                               second[j]);
  OutputGradientRow<M>(first, points);
  PELLUCID_UNROLL(8)
  for (int j = 0; j < A; j++) store(FirstRow<M>(PAIR) * A + j, points[j]);
  OutputGradientRow<M>(second, points);
  PELLUCID_UNROLL(8)
  for (int j = 0; j < A; j++) store(SecondRow<M>(PAIR) * A + j, points[j]);
}

// The M x M numbers y[i][j] of an output's tile from its products, `point` floats apart.
template <int M>
PELLUCID_INLINE void OutputTile(const float* m, int64_t point, Vector (*y)[M]) {
  constexpr int A = M + 2;
  Vector t[A][M];
  PELLUCID_UNROLL(8)
  for (int i = 0; i < A; i++) {  // along rows first
    Vector row[A];
    PELLUCID_UNROLL(8)
    for (int j = 0; j < A; j++) row[j] = Load(m + (i * A + j) * point);
    Winograd<M>::Output(row, t[i]);
  }
  PELLUCID_UNROLL(4)
  for (int j = 0; j < M; j++) {
    Vector column[A], out[M];
    PELLUCID_UNROLL(8)
    for (int i = 0; i < A; i++) column[i] = t[i][j];
    Winograd<M>::Output(column, out);
    PELLUCID_UNROLL(4)
    for (int i = 0; i < M; i++) y[i][j] = out[i];
  }
}

PELLUCID_INLINE int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Past the caches, for what is read much later: spares reading the line first.
PELLUCID_INLINE void Stream(float* p, Vector v) {
#if defined(__clang__)
  __builtin_nontemporal_store(v, reinterpret_cast<Vector*>(p));
#elif defined(__AVX512F__)
  typedef float Wide __attribute__((vector_size(64)));
  __builtin_ia32_movntps512(p, Wide(v));
#elif defined(__AVX__)
  typedef float Wide __attribute__((vector_size(32)));
  __builtin_ia32_movntps256(p, Wide(v));
#elif defined(__SSE__)
  typedef float Wide __attribute__((vector_size(16)));
  __builtin_ia32_movntps(p, Wide(v));
#else
  Store(p, v);
#endif
}
PELLUCID_INLINE void EndStreams() {
#if defined(__SSE__)
  __builtin_ia32_sfence();
#endif
}

// n things in blocks of at most `most`, as equal as can be: block i is [begin(i), begin(i + 1)).
struct Blocks {
  int64_t count, size, larger;
  Blocks(int64_t n, int64_t most) : count((n + most - 1) / most), size(n / count), larger(n % count) {}
  int64_t begin(int64_t i) const { return i * size + Least(i, larger); }
  int64_t length(int64_t i) const { return size + (i < larger); }
};

}  // namespace
}  // namespace pellucid::lanes::PELLUCID_ISA
