// What is needed soon, fetched to L2 a little at a time between blocks of products: memory is slow, and nothing else
// asks for it while the products run.
#pragma once

#include "vector.h"

namespace pellucid::lanes::PELLUCID_ISA {
namespace {

constexpr int kMostAhead = 6;  // tiles of a chunk
constexpr int64_t kLine = 16;  // floats of a line of the cache

struct Ahead {
  struct Rectangle {
    int64_t offset;  // floats from the plane's begin
    int rows, columns;
  };
  // The same rectangles of several planes, `plane` floats apart, whose rows are `row` floats apart.
  struct Planes {
    const float* at;
    int64_t plane, row;
    Rectangle rectangles[kMostAhead];
    int64_t count, planes;
    int64_t next;  // rectangle
    int64_t left() const { return planes * count; }
    void Fetch() {
      const Rectangle& r = rectangles[next];
      const float* line = at + r.offset;
      for (int i = 0; i < r.rows; i++, line += row)
        for (int j = 0; j < r.columns; j++) __builtin_prefetch(line + j * kLanes, 0, 2);
      if (++next < count) return;
      next = 0;
      at += plane;
      planes--;
    }
  };
  Planes first, second;  // in this order
  int64_t each;          // rectangles at a time

  void Step() {
    for (int64_t i = 0; i < each; i++) {
      if (first.planes > 0)
        first.Fetch();
      else if (second.planes > 0)
        second.Fetch();
      else
        return;
    }
  }
  // So many at a time that all are fetched in so many steps.
  void Pace(int64_t steps) { each = (first.left() + second.left() + steps - 1) / Most(1, steps); }
};

// Tiles [begin, end) of `channels` planes H x W from `at` on: those numbers that tiles of `size`, M apart, have not in
// common with the tiles above and before them.
PELLUCID_INLINE Ahead::Planes TilesAhead(const float* at, int64_t channels, int64_t H, int64_t W, int M, int size,
                                         int64_t across, int64_t begin, int64_t end, int pad_h, int pad_w) {
  Ahead::Planes p{at, H * W * kLanes, W * kLanes, {}, end - begin, channels, 0};
  for (int64_t t = begin; t < end; t++) {
    const int64_t h = t / across * M - pad_h, w = t % across * M - pad_w;
    const int64_t top = Most(0, t < across ? h : h + size - M), left = Most(0, t % across == 0 ? w : w + size - M);
    const int rows = int(Least(H, h + size) - top), columns = int(Least(W, w + size) - left);
    p.rectangles[t - begin] = {top * p.row + left * kLanes, rows, columns};
  }
  return p;
}

}  // namespace
}  // namespace pellucid::lanes::PELLUCID_ISA
