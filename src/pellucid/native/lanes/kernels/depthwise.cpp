// Depthwise convolution: output channel k reads input channel k / (K / C) alone.
//
//   y[k, p, q]    = bias[k] + sum over r, s of x[c, p stride_h + r dilation_h - pad_h, q stride_w + ...] w[k, r, s]
//   dx[c, h, w]   = sum over the K / C kernels k of c and all r, s of dy[k, (h + pad_h - r dilation_h) / stride_h, ...]
//                   w[k, r, s], where the division leaves no rest
//   dw[k, r, s]   = sum over pictures, p, q of dy[k, p, q] x[c, p stride_h + r dilation_h - pad_h, ...]
//
// Both the forward pass and the input's gradient are rows of outputs, each the sum over some lines of input of a short
// correlation. With strides the input's gradient falls into stride_w phases, each a correlation of every stride_w-th
// output with the taps that reach it. A block of up to eight outputs stays in registers; each vector of a line is read
// once for all of the block's outputs. Taps outside the picture read zeros, lines outside it are left out.
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int kBlock = 8;
alignas(64) constexpr float kZeros[kLanes] = {};

struct Line {
  const float* row;  // [width][L]
  const float* w;    // [all taps]
};

// out[j] = start + sum over lines and taps t of row[j step + offsets[t]] w[first_tap + t]
struct Row {
  const Line* lines;
  const int32_t* offsets;  // columns, of this row's taps
  float* out;
  int64_t out_step;  // floats from one output to the next
  int32_t line_count;
  int32_t width;
  int32_t step;
  int32_t first_tap;
  int32_t taps;
  int32_t count;
  float start;
  int32_t accumulate;
};

PELLUCID_INLINE Vector Column(const float* row, int32_t column, int32_t width) {
  return Load(uint32_t(column) < uint32_t(width) ? row + int64_t(column) * kLanes : kZeros);
}

// Outputs [j, j + kCount). kTaps > 0: so many taps in neighbouring columns, kStep columns from one output to the next.
template <int kTaps, int kStep, int kCount, bool kEdge>
PELLUCID_INLINE void ComputeBlock(const Row& a, int32_t j) {
  Vector sum[kCount];
  float* out = a.out + j * a.out_step;
  PELLUCID_UNROLL(8)
  for (int b = 0; b < kCount; b++) sum[b] = a.accumulate ? Load(out + b * a.out_step) : Splat(a.start);
  if constexpr (kTaps > 0) {
    const int32_t column = j * kStep + a.offsets[0];
    for (int32_t i = 0; i < a.line_count; i++) {
      const float* row = a.lines[i].row;
      const float* w = a.lines[i].w + a.first_tap;
      Vector tap[kTaps];
      PELLUCID_UNROLL(8)
      for (int t = 0; t < kTaps; t++) tap[t] = InRegister(w[t]);
      PELLUCID_UNROLL(32)
      for (int v = 0; v < (kCount - 1) * kStep + kTaps; v++) {
        if (v % kStep >= kTaps) continue;
        const Vector x = kEdge ? Column(row, column + v, a.width) : Load(row + int64_t(column + v) * kLanes);
        PELLUCID_UNROLL(8)
        for (int t = 0; t < kTaps; t++)
          if (v >= t && (v - t) % kStep == 0 && (v - t) / kStep < kCount) sum[(v - t) / kStep] += x * tap[t];
      }
    }
  } else {
    for (int32_t i = 0; i < a.line_count; i++)
      for (int32_t t = 0; t < a.taps; t++) {
        const Vector w = InRegister(a.lines[i].w[a.first_tap + t]);
        const int32_t column = j * a.step + a.offsets[t];
        PELLUCID_UNROLL(8)
        for (int b = 0; b < kCount; b++) sum[b] += Column(a.lines[i].row, column + b * a.step, a.width) * w;
      }
  }
  PELLUCID_UNROLL(8)
  for (int b = 0; b < kCount; b++) Store(out + b * a.out_step, sum[b]);
}

template <int kTaps, int kStep, int kCount>
PELLUCID_INLINE void DoBlock(const Row& a, int32_t j) {
  if constexpr (kTaps > 0) {
    const int32_t column = j * kStep + a.offsets[0];
    if (column >= 0 && column + (kCount - 1) * kStep + kTaps <= a.width)
      return ComputeBlock<kTaps, kStep, kCount, false>(a, j);
  }
  ComputeBlock<kTaps, kStep, kCount, true>(a, j);
}

// Blocks of nearly equal size: 14 outputs are 7 and 7, not 8 and 6.
template <int kTaps, int kStep>
void DoRow(const Row& a) {
  const int32_t blocks = (a.count + kBlock - 1) / kBlock;
  for (int32_t i = 0; i < blocks; i++) {
    const int32_t j = a.count * i / blocks;
    switch (a.count * (i + 1) / blocks - j) {
      case 1: DoBlock<kTaps, kStep, 1>(a, j); break;
      case 2: DoBlock<kTaps, kStep, 2>(a, j); break;
      case 3: DoBlock<kTaps, kStep, 3>(a, j); break;
      case 4: DoBlock<kTaps, kStep, 4>(a, j); break;
      case 5: DoBlock<kTaps, kStep, 5>(a, j); break;
      case 6: DoBlock<kTaps, kStep, 6>(a, j); break;
      case 7: DoBlock<kTaps, kStep, 7>(a, j); break;
      default: DoBlock<kTaps, kStep, 8>(a, j); break;
    }
  }
}

typedef void (*RowFunction)(const Row&);

RowFunction ChooseRow(int32_t taps, int32_t step, const int32_t* offsets) {
  for (int32_t t = 1; t < taps; t++)
    if (offsets[t] != offsets[0] + t) return DoRow<0, 0>;
  if (step == 1) switch (taps) {
      case 1: return DoRow<1, 1>;
      case 2: return DoRow<2, 1>;
      case 3: return DoRow<3, 1>;
      case 4: return DoRow<4, 1>;
      case 5: return DoRow<5, 1>;
      case 7: return DoRow<7, 1>;
      default: return DoRow<0, 0>;
    }
  if (step == 2) switch (taps) {
      case 3: return DoRow<3, 2>;
      case 5: return DoRow<5, 2>;
      case 7: return DoRow<7, 2>;
      default: return DoRow<0, 0>;
    }
  return DoRow<0, 0>;
}

// The sums of y - shift and its square over one row, in four interleaved parts, added to sums[8].
PELLUCID_INLINE void AddStatistics(const float* row, int32_t count, Vector shift, Vector* sums) {
  for (int32_t q = 0; q < count; q += 4)
    PELLUCID_UNROLL(4)
    for (int i = 0; i < 4; i++)
      if (q + i < count) {
        const Vector d = Load(row + int64_t(q + i) * kLanes) - shift;
        sums[i] += d;
        sums[4 + i] += d * d;
      }
}

void ForwardPlane(const ConvolutionArguments& a, const float* x, float* y, int32_t k, const int32_t* offsets, Line* lines,
                  float* statistics) {
  const RowFunction row = ChooseRow(a.S, a.stride_w, offsets);
  Row r{lines, offsets, y, kLanes, 0, a.W, a.stride_w, 0, a.S, a.Q, a.bias ? a.bias[k] : 0.0f, 0};
  Vector shift{}, sums[8] = {};
  for (int32_t p = 0; p < a.P; p++) {
    r.line_count = 0;
    for (int32_t i = 0; i < a.R; i++) {
      const int32_t h = p * a.stride_h + i * a.dilation_h - a.pad_h;
      if (h >= 0 && h < a.H)
        lines[r.line_count++] = {x + int64_t(h) * a.W * kLanes, a.w + (int64_t(k) * a.R + i) * a.S};
    }
    r.out = y + int64_t(p) * a.Q * kLanes;
    row(r);
    if (statistics != nullptr) {
      if (p == 0) shift = Load(y);
      AddStatistics(r.out, a.Q, shift, sums);
    }
  }
  if (statistics == nullptr) return;
  Store(statistics, shift);
  Store(statistics + kLanes, (sums[0] + sums[1]) + (sums[2] + sums[3]));
  Store(statistics + 2 * kLanes, (sums[4] + sums[5]) + (sums[6] + sums[7]));
}

// Where the input's gradient finds what it needs: the taps by phases, each phase's in the order of their columns.
struct Phases {
  int32_t* tap;      // [S] which column of the kernel
  int32_t* offset;   // [S] j + offset is the column of dy for the phase's output j
  int32_t* begin;    // [stride_w + 1] among the taps
  RowFunction* row;  // [stride_w]
};

void FindPhases(const ConvolutionArguments& a, const Phases& f) {
  int32_t n = 0;
  for (int32_t phase = 0; phase < a.stride_w; phase++) {
    f.begin[phase] = n;
    for (int32_t s = a.S - 1; s >= 0; s--) {
      const int32_t column = phase + a.pad_w - s * a.dilation_w;
      if (column % a.stride_w != 0) continue;
      f.tap[n] = s;
      f.offset[n++] = column / a.stride_w;
    }
    f.row[phase] = ChooseRow(n - f.begin[phase], 1, f.offset + f.begin[phase]);
  }
  f.begin[a.stride_w] = n;
}

// dx of channel c from the planes dy of its kernels. weights: [K / C][R][S] with the taps in the phases' order.
void InputGradientPlane(const ConvolutionArguments& a, float* dx, const float* dy, const float* weights, const Phases& f,
                        Line* lines) {
  const int32_t kernels = a.K / a.C;
  for (int32_t h = 0; h < a.H; h++) {
    int32_t count = 0;
    for (int32_t k = 0; k < kernels; k++)
      for (int32_t i = 0; i < a.R; i++) {
        const int32_t above = h + a.pad_h - i * a.dilation_h, p = above / a.stride_h;
        if (above >= 0 && above % a.stride_h == 0 && p < a.P)
          lines[count++] = {dy + (int64_t(k) * a.P + p) * a.Q * kLanes, weights + (k * a.R + i) * a.S};
      }
    for (int32_t phase = 0; phase < a.stride_w && phase < a.W; phase++) {
      const int32_t first = f.begin[phase];
      float* out = dx + (int64_t(h) * a.W + phase) * kLanes;
      f.row[phase](Row{lines, f.offset + first, out, int64_t(a.stride_w) * kLanes, count, a.Q, 1, first,
                       f.begin[phase + 1] - first, (a.W - phase + a.stride_w - 1) / a.stride_w, 0.0f, a.accumulate});
    }
  }
}

// The weight's gradient: for one row of taps, sums of dy[q] x[q step + t + column] in kChains interleaved parts, so that
// consecutive multiply-adds do not wait for one another. x is one line of the input.
template <int kTaps, int kStep, int kChains, int kCount, bool kEdge>
PELLUCID_INLINE void GradientBlock(const float* x, const float* dy, int32_t column, int32_t width, Vector* sums) {
  Vector d[kCount];
  PELLUCID_UNROLL(8)
  for (int b = 0; b < kCount; b++) d[b] = Load(dy + b * kLanes);
  PELLUCID_UNROLL(32)
  for (int v = 0; v < (kCount - 1) * kStep + kTaps; v++) {
    if (v % kStep >= kTaps) continue;
    const Vector in = kEdge ? Column(x, column + v, width) : Load(x + int64_t(column + v) * kLanes);
    PELLUCID_UNROLL(8)
    for (int t = 0; t < kTaps; t++)
      if (v >= t && (v - t) % kStep == 0 && (v - t) / kStep < kCount)
        sums[t * kChains + (v - t) / kStep % kChains] += d[(v - t) / kStep] * in;
  }
}

template <int kTaps, int kStep, int kChains, int kCount>
PELLUCID_INLINE void GradientOf(const float* x, const float* dy, int32_t column, int32_t width, Vector* sums) {
  if (column >= 0 && column + (kCount - 1) * kStep + kTaps <= width)
    GradientBlock<kTaps, kStep, kChains, kCount, false>(x, dy, column, width, sums);
  else
    GradientBlock<kTaps, kStep, kChains, kCount, true>(x, dy, column, width, sums);
}

// Output rows [p, end) of one plane against row r of the taps; sums [S][chains] go on.
template <int kTaps, int kStep, int kChains>
void GradientRows(const ConvolutionArguments& a, const float* x, const float* dy, int32_t r, int32_t p, int32_t end,
                  float* sums) {
  Vector sum[kTaps * kChains];
  for (int i = 0; i < kTaps * kChains; i++) sum[i] = Load(sums + i * kLanes);
  for (; p < end; p++) {
    const int32_t h = p * a.stride_h + r * a.dilation_h - a.pad_h;
    if (h < 0 || h >= a.H) continue;
    const float* in = x + int64_t(h) * a.W * kLanes;
    const float* d = dy + int64_t(p) * a.Q * kLanes;
    int32_t q = 0;
    constexpr int kWide = kLanes == 16 ? 8 : 4;
    for (; q + kWide <= a.Q; q += kWide)
      GradientOf<kTaps, kStep, kChains, kWide>(in, d + q * kLanes, q * kStep - a.pad_w, a.W, sum);
    if (kWide == 8 && q + 4 <= a.Q) {
      GradientOf<kTaps, kStep, kChains, 4>(in, d + q * kLanes, q * kStep - a.pad_w, a.W, sum);
      q += 4;
    }
    switch (a.Q - q) {
      case 1: GradientOf<kTaps, kStep, kChains, 1>(in, d + q * kLanes, q * kStep - a.pad_w, a.W, sum); break;
      case 2: GradientOf<kTaps, kStep, kChains, 2>(in, d + q * kLanes, q * kStep - a.pad_w, a.W, sum); break;
      case 3: GradientOf<kTaps, kStep, kChains, 3>(in, d + q * kLanes, q * kStep - a.pad_w, a.W, sum); break;
    }
  }
  for (int i = 0; i < kTaps * kChains; i++) Store(sums + i * kLanes, sum[i]);
}

// The same for any taps, stride and dilation.
void GradientRowsAny(const ConvolutionArguments& a, const float* x, const float* dy, int32_t r, int32_t p, int32_t end,
                     float* sums) {
  for (; p < end; p++) {
    const int32_t h = p * a.stride_h + r * a.dilation_h - a.pad_h;
    if (h < 0 || h >= a.H) continue;
    for (int32_t s = 0; s < a.S; s++) {
      Vector sum[4] = {};
      const float* d = dy + int64_t(p) * a.Q * kLanes;
      const int32_t column = s * a.dilation_w - a.pad_w;
      for (int32_t q = 0; q < a.Q; q += 4)
        PELLUCID_UNROLL(4)
        for (int i = 0; i < 4; i++)
          if (q + i < a.Q)
            sum[i] += Load(d + (q + i) * kLanes) *
                      Column(x + int64_t(h) * a.W * kLanes, column + (q + i) * a.stride_w, a.W);
      Store(sums + s * kLanes, Load(sums + s * kLanes) + ((sum[0] + sum[1]) + (sum[2] + sum[3])));
    }
  }
}

struct Gradient {
  void (*rows)(const ConvolutionArguments&, const float*, const float*, int32_t, int32_t, int32_t, float*);
  int32_t chains;
};

Gradient ChooseGradient(const ConvolutionArguments& a) {
  constexpr int kTwo = kLanes == 16 ? 2 : 1;  // AVX2 and NEON have half the registers or fewer
  if (a.dilation_w == 1 && a.stride_w == 1) switch (a.S) {
      case 3: return {GradientRows<3, 1, 3>, 3};
      case 5: return {GradientRows<5, 1, kTwo>, kTwo};
      case 7: return {GradientRows<7, 1, kTwo>, kTwo};
    }
  if (a.dilation_w == 1 && a.stride_w == 2) switch (a.S) {
      case 3: return {GradientRows<3, 2, 3>, 3};
      case 5: return {GradientRows<5, 2, kTwo>, kTwo};
      case 7: return {GradientRows<7, 2, kTwo>, kTwo};
    }
  return {GradientRowsAny, 1};
}

// Rows of the output at a time, so that they and their input are in L1 for every row of taps.
int32_t GradientChunk(const ConvolutionArguments& a) {
  const int64_t row = (int64_t(a.Q) + int64_t(a.W) * a.stride_h) * kLanes * 4;
  return int32_t(Most(2, Least(a.P, 24 * 1024 / row)));
}

// dw of one plane, added to or written: w[R S], and the sum of dy to bias[0] if there is one.
void GradientPlane(const ConvolutionArguments& a, const Gradient& f, const float* x, const float* dy, Integers live,
                   bool first, float* w, float* bias) {
  const int32_t row = a.S * f.chains, taps = a.R * a.S;
  float* sums = pellucid_lanes_scratch(0, int64_t(a.R) * row * kLanes);
  memset(sums, 0, sizeof(float) * size_t(a.R) * row * kLanes);
  const int32_t chunk = GradientChunk(a);
  for (int32_t p = 0; p < a.P; p += chunk)
    for (int32_t r = 0; r < a.R; r++)
      f.rows(a, x, dy, r, p, int32_t(Least(a.P, p + chunk)), sums + int64_t(r) * row * kLanes);
  Vector sixteen[kLanes];
  for (int32_t t = 0; t < taps; t += kLanes) {
    const int32_t count = int32_t(Least(kLanes, taps - t));
    for (int32_t i = 0; i < kLanes; i++) {
      sixteen[i] = Vector{};
      for (int32_t j = 0; j < (i < count ? f.chains : 0); j++)
        sixteen[i] += Load(sums + (int64_t(t + i) * f.chains + j) * kLanes);
      sixteen[i] = Select(live, sixteen[i], Vector{});
    }
    const Vector total = LaneSums(sixteen);
    for (int32_t i = 0; i < count; i++) w[t + i] = first ? total[i] : w[t + i] + total[i];
  }
  if (bias == nullptr) return;
  Vector sum[4] = {};
  for (int64_t i = 0; i < int64_t(a.P) * a.Q; i += 4)
    PELLUCID_UNROLL(4)
    for (int64_t j = 0; j < 4; j++)
      if (i + j < int64_t(a.P) * a.Q) sum[j] += Load(dy + (i + j) * kLanes);
  const float total = Sum(Select(live, (sum[0] + sum[1]) + (sum[2] + sum[3]), Vector{}));
  *bias = first ? total : *bias + total;
}

}  // namespace

// By groups.
void DepthwiseForward(const void* arguments, const PellucidUnits* units) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  Line* lines = reinterpret_cast<Line*>(pellucid_lanes_scratch(0, int64_t(a.R) * (sizeof(Line) / 4)));
  int32_t* offsets = reinterpret_cast<int32_t*>(pellucid_lanes_scratch(1, a.S));
  for (int32_t s = 0; s < a.S; s++) offsets[s] = s * a.dilation_w - a.pad_w;
  const int64_t x_plane = int64_t(a.H) * a.W * kLanes, y_plane = int64_t(a.P) * a.Q * kLanes;
  for (int64_t g = units->begin; g < units->end; g++)
    for (int32_t k = 0; k < a.K; k++)
      ForwardPlane(a, a.x + g * a.x_group + k / (a.K / a.C) * x_plane, a.y + g * a.y_group + k * y_plane, k, offsets, lines,
                   a.statistics ? a.statistics + (g * a.K + k) * 3 * kLanes : nullptr);
}

// By groups.
void DepthwiseInputGradient(const void* arguments, const PellucidUnits* units) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const int32_t kernels = a.K / a.C, taps = a.R * a.S;
  Line* lines = reinterpret_cast<Line*>(pellucid_lanes_scratch(0, int64_t(kernels) * a.R * (sizeof(Line) / 4)));
  int32_t* numbers = reinterpret_cast<int32_t*>(pellucid_lanes_scratch(1, 2 * a.S + a.stride_w + 1));
  RowFunction* rows = reinterpret_cast<RowFunction*>(pellucid_lanes_scratch(2, 2 * a.stride_w));
  float* weights = pellucid_lanes_scratch(3, int64_t(kernels) * taps);
  const Phases f{numbers, numbers + a.S, numbers + 2 * a.S, rows};
  FindPhases(a, f);
  const int64_t x_plane = int64_t(a.H) * a.W * kLanes, y_plane = int64_t(a.P) * a.Q * kLanes;
  for (int64_t g = units->begin; g < units->end; g++)
    for (int32_t c = 0; c < a.C; c++) {
      const float* w = a.w + int64_t(c) * kernels * taps;
      for (int32_t i = 0; i < kernels * a.R; i++)
        for (int32_t t = 0; t < f.begin[a.stride_w]; t++) weights[i * a.S + t] = w[i * a.S + f.tap[t]];
      InputGradientPlane(a, a.x + g * a.x_group + c * x_plane, a.y + g * a.y_group + int64_t(c) * kernels * y_plane,
                         weights, f, lines);
    }
}

// By groups. w: partial sums [slots][K R S]; bias, if not null: partial sums of dL/dbias [slots][K], w_slot apart too.
void DepthwiseWeightGradient(const void* arguments, const PellucidUnits* units) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const Gradient f = ChooseGradient(a);
  const int64_t x_plane = int64_t(a.H) * a.W * kLanes, y_plane = int64_t(a.P) * a.Q * kLanes;
  for (int64_t g = units->begin; g < units->end; g++) {
    const Integers live = LiveLanes(g == a.G - 1 ? a.live : kLanes);
    const bool first = units->first && g == units->begin;
    for (int32_t k = 0; k < a.K; k++)
      GradientPlane(a, f, a.x + g * a.x_group + k / (a.K / a.C) * x_plane, a.y + g * a.y_group + k * y_plane, live, first,
                    a.w + units->slot * a.w_slot + int64_t(k) * a.R * a.S,
                    a.bias ? a.bias + units->slot * a.w_slot + k : nullptr);
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
