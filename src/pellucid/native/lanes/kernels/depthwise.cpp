// Depthwise convolution: output channel k reads input channel k / (K / C) alone. The weight's gradient has its own file.
//
//   y[k, p, q]    = bias[k] + sum over r, s of x[c, p stride_h + r dilation_h - pad_h, q stride_w + ...] w[k, r, s]
//   dx[c, h, w]   = sum over the K / C kernels k of c and all r, s of dy[k, (h + pad_h - r dilation_h) / stride_h, ...]
//                   w[k, r, s], where the division leaves no rest
//
// Both are rows of outputs, each the sum over some lines of input of a short correlation. With strides the input's
// gradient falls into stride_w phases, each a correlation of every stride_w-th output with the taps that reach it. A block
// of up to eight outputs stays in registers; each vector of a line is read once for all of the block's outputs. Columns
// outside the picture are zeros, lines outside it are left out.
#include "../depthwise_rows.h"
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int kMost = 8;  // outputs of a block

struct Line {
  const float* row;  // at column 0
  const float* w;    // of all taps
};

// out[j] = start + sum over lines and taps t of row[j step + offsets[t]] w[first_tap + t]
struct Row {
  const Line* lines;
  const int32_t* offsets;  // columns, of this row's taps
  float* out;
  int64_t out_step;  // floats from one output to the next
  int32_t line_count;
  int32_t step;
  int32_t first_tap;
  int32_t taps;
  Blocks blocks;
  float start;
  int32_t accumulate;
};

// Outputs from j on. kTaps > 0: so many taps in neighbouring columns, kStep columns from one output to the next.
template <int kTaps, int kStep, int kCount>
PELLUCID_INLINE void ComputeBlock(const Row& a, int32_t j) {
  Vector sum[kCount];
  const int64_t out_step = a.out_step;
  float* out = a.out + j * out_step;
  if (a.accumulate) {
    PELLUCID_UNROLL(8)
    for (int b = 0; b < kCount; b++) sum[b] = Load(out + b * out_step);
  } else {
    PELLUCID_UNROLL(8)
    for (int b = 0; b < kCount; b++) sum[b] = Splat(a.start);
  }
  const Line* const end = a.lines + a.line_count;
  if constexpr (kTaps > 0) {
    const int64_t column = (int64_t(j) * kStep + a.offsets[0]) * kLanes, first_tap = a.first_tap;
    for (const Line* line = a.lines; line != end; line++) {
      const float* row = Base(line->row + column);
      const float* w = Base(line->w + first_tap);
      Vector tap[kTaps];
      PELLUCID_UNROLL(8)
      for (int t = 0; t < kTaps; t++) tap[t] = InRegister(w[t]);
      PELLUCID_UNROLL(32)
      for (int v = 0; v < (kCount - 1) * kStep + kTaps; v++) {
        if (v % kStep >= kTaps) continue;
        const Vector x = LoadOnce(row + v * kLanes);
        PELLUCID_UNROLL(8)
        for (int t = 0; t < kTaps; t++)
          if (v >= t && (v - t) % kStep == 0 && (v - t) / kStep < kCount) sum[(v - t) / kStep] += x * tap[t];
      }
    }
  } else {
    const int64_t step = int64_t(a.step) * kLanes;
    for (const Line* line = a.lines; line != end; line++)
      for (int32_t t = 0; t < a.taps; t++) {
        const Vector w = InRegister(line->w[a.first_tap + t]);
        const float* row = line->row + j * step + int64_t(a.offsets[t]) * kLanes;
        PELLUCID_UNROLL(8)
        for (int b = 0; b < kCount; b++) sum[b] += Load(row + b * step) * w;
      }
  }
  PELLUCID_UNROLL(8)
  for (int b = 0; b < kCount; b++) Store(out + b * out_step, sum[b]);
}

template <int kTaps, int kStep, int kCount>
void DoRow(const Row& given) {
  const Row a = given;
  int32_t j = 0;
  for (int32_t i = 0; i < a.blocks.wide; i++, j += kCount) ComputeBlock<kTaps, kStep, kCount>(a, j);
  if constexpr (kCount > 1)
    for (int32_t i = 0; i < a.blocks.narrow; i++, j += kCount - 1) ComputeBlock<kTaps, kStep, kCount - 1>(a, j);
}

typedef void (*RowFunction)(const Row&);

template <int kTaps, int kStep>
RowFunction OfSize(int32_t size) {
  switch (size) {
    case 1: return DoRow<kTaps, kStep, 1>;
    case 2: return DoRow<kTaps, kStep, 2>;
    case 3: return DoRow<kTaps, kStep, 3>;
    case 4: return DoRow<kTaps, kStep, 4>;
    case 5: return DoRow<kTaps, kStep, 5>;
    case 6: return DoRow<kTaps, kStep, 6>;
    case 7: return DoRow<kTaps, kStep, 7>;
    default: return DoRow<kTaps, kStep, 8>;
  }
}

RowFunction ChooseRow(int32_t taps, int32_t step, const int32_t* offsets, int32_t size) {
  for (int32_t t = 1; t < taps; t++)
    if (offsets[t] != offsets[0] + t) return OfSize<0, 0>(size);
  if (step == 1) switch (taps) {
      case 1: return OfSize<1, 1>(size);
      case 2: return OfSize<2, 1>(size);
      case 3: return OfSize<3, 1>(size);
      case 4: return OfSize<4, 1>(size);
      case 5: return OfSize<5, 1>(size);
      case 7: return OfSize<7, 1>(size);
    }
  if (step == 2) switch (taps) {
      case 3: return OfSize<3, 2>(size);
      case 5: return OfSize<5, 2>(size);
      case 7: return OfSize<7, 2>(size);
    }
  return OfSize<0, 0>(size);
}

// The sums of y - shift and its square over one row, in four interleaved parts, added to sums[8].
PELLUCID_INLINE void AddStatistics(const float* row, int32_t count, Vector shift, Vector* sums) {
  int32_t q = 0;
  for (; q + 4 <= count; q += 4)
    PELLUCID_UNROLL(4)
    for (int i = 0; i < 4; i++) {
      const Vector d = Load(row + int64_t(q + i) * kLanes) - shift;
      sums[i] += d;
      sums[4 + i] += d * d;
    }
  for (; q < count; q++) {
    const Vector d = Load(row + int64_t(q) * kLanes) - shift;
    sums[q & 3] += d;
    sums[4 + (q & 3)] += d * d;
  }
}

// y of kernel k. r: all but the lines and the place of the outputs.
void ForwardPlane(const ConvolutionArguments& a, PaddedRows& x, float* y, int32_t k, RowFunction function, Row& r,
                  Line* lines, float* statistics) {
  Vector shift{}, sums[8] = {};
  r.start = a.bias ? a.bias[k] : 0.0f;
  for (int32_t p = 0; p < a.P; p++) {
    const int32_t top = p * a.stride_h - a.pad_h;
    x.FillTo(top + (a.R - 1) * a.dilation_h);
    r.line_count = 0;
    for (int32_t i = 0; i < a.R; i++) {
      const int32_t h = top + i * a.dilation_h;
      if (h >= 0 && h < a.H) lines[r.line_count++] = {x.At(h), a.w + (int64_t(k) * a.R + i) * a.S};
    }
    r.out = y + int64_t(p) * a.Q * kLanes;
    function(r);
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

// What the input's gradient does for one phase of the columns: its outputs are phase, phase + stride_w, ... Its taps are
// those of the kernel's that reach them, in the order of their columns in dy.
struct Phase {
  RowFunction function;
  Blocks blocks;
  int32_t first_tap;
  int32_t taps;
};

struct Phases {
  Phase* all;            // [count]
  int32_t count;         // stride_w, or W if that is less
  int32_t* tap;          // which of the kernel's columns
  int32_t* offset;       // the phase's output j reads dy's column j + offset
  int64_t first, last;   // columns of dy that are read
};

Phases FindPhases(const ConvolutionArguments& a) {
  Phases f{};
  f.count = int32_t(Least(a.stride_w, a.W));
  f.tap = reinterpret_cast<int32_t*>(pellucid_lanes_scratch(1, 2 * a.S));
  f.offset = f.tap + a.S;
  f.all = reinterpret_cast<Phase*>(pellucid_lanes_scratch(2, int64_t(f.count) * (sizeof(Phase) / 4)));
  int32_t n = 0;
  for (int32_t i = 0; i < f.count; i++) {
    const int32_t begin = n, outputs = (a.W - i + a.stride_w - 1) / a.stride_w;
    for (int32_t s = a.S - 1; s >= 0; s--) {
      const int32_t column = i + a.pad_w - s * a.dilation_w;
      if (column % a.stride_w != 0) continue;
      f.tap[n] = s;
      f.offset[n] = column / a.stride_w;
      f.first = Least(f.first, f.offset[n]);
      f.last = Most(f.last, f.offset[n] + outputs - 1);
      n++;
    }
    const Blocks blocks = Blocks::Of(outputs, kMost);
    f.all[i] = {ChooseRow(n - begin, 1, f.offset + begin, blocks.size), blocks, begin, n - begin};
  }
  return f;
}

// dx of a channel. dy: one for each of its kernels. weights: [K / C][R][S], the taps in the phases' order.
void InputGradientPlane(const ConvolutionArguments& a, float* dx, PaddedRows* dy, const float* weights, const Phases& f,
                        Line* lines) {
  const int32_t kernels = a.K / a.C;
  for (int32_t h = 0; h < a.H; h++) {
    int32_t count = 0;
    for (int32_t k = 0; k < kernels; k++) {
      dy[k].FillTo((h + a.pad_h) / a.stride_h);
      for (int32_t i = 0; i < a.R; i++) {
        const int32_t above = h + a.pad_h - i * a.dilation_h, p = above / a.stride_h;
        if (above >= 0 && above % a.stride_h == 0 && p < a.P) lines[count++] = {dy[k].At(p), weights + (k * a.R + i) * a.S};
      }
    }
    for (int32_t i = 0; i < f.count; i++) {
      const Phase& phase = f.all[i];
      float* out = dx + (int64_t(h) * a.W + i) * kLanes;
      phase.function(Row{lines, f.offset + phase.first_tap, out, int64_t(a.stride_w) * kLanes, count, 1, phase.first_tap,
                         phase.taps, phase.blocks, 0.0f, a.accumulate});
    }
  }
}

}  // namespace

// By groups.
void DepthwiseForward(const void* arguments, const PellucidUnits* units) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  Line* lines = reinterpret_cast<Line*>(pellucid_lanes_scratch(0, int64_t(a.R) * (sizeof(Line) / 4)));
  int32_t* offsets = reinterpret_cast<int32_t*>(pellucid_lanes_scratch(1, a.S));
  for (int32_t s = 0; s < a.S; s++) offsets[s] = s * a.dilation_w - a.pad_w;
  const int64_t last = int64_t(a.Q - 1) * a.stride_w + offsets[a.S - 1];
  PaddedRows x = PaddedRows::Of(2, a.W, a.H, offsets[0], last, (a.R - 1) * a.dilation_h + 1);
  const Blocks blocks = Blocks::Of(a.Q, kMost);
  const RowFunction function = ChooseRow(a.S, a.stride_w, offsets, blocks.size);
  Row r{lines, offsets, nullptr, kLanes, 0, a.stride_w, 0, a.S, blocks, 0, 0};
  const int64_t x_plane = int64_t(a.H) * a.W * kLanes, y_plane = int64_t(a.P) * a.Q * kLanes;
  for (int64_t g = units->begin; g < units->end; g++)
    for (int32_t k = 0; k < a.K; k++) {
      x.Begin(a.x + g * a.x_group + k / (a.K / a.C) * x_plane);
      ForwardPlane(a, x, a.y + g * a.y_group + k * y_plane, k, function, r, lines,
                   a.statistics ? a.statistics + (g * a.K + k) * 3 * kLanes : nullptr);
    }
}

// By groups.
void DepthwiseInputGradient(const void* arguments, const PellucidUnits* units) {
  const ConvolutionArguments& a = *static_cast<const ConvolutionArguments*>(arguments);
  const int32_t kernels = a.K / a.C, taps = a.R * a.S;
  const Phases f = FindPhases(a);
  const int32_t used = f.all[f.count - 1].first_tap + f.all[f.count - 1].taps;
  Line* lines = reinterpret_cast<Line*>(pellucid_lanes_scratch(0, int64_t(kernels) * a.R * (sizeof(Line) / 4)));
  float* weights = pellucid_lanes_scratch(3, int64_t(kernels) * taps);
  PaddedRows* dy =
      reinterpret_cast<PaddedRows*>(pellucid_lanes_scratch(4, int64_t(kernels) * int64_t(sizeof(PaddedRows) / 4)));
  const int32_t size = (a.R - 1) * a.dilation_h / a.stride_h + 1;
  const PaddedRows all = PaddedRows::Of(5, a.Q, a.P, f.first, f.last, size * kernels);
  for (int32_t k = 0; k < kernels; k++) {
    dy[k] = all;
    dy[k].size = size;
    dy[k].ring = all.ring + k * size * all.Pitch();
  }
  const int64_t x_plane = int64_t(a.H) * a.W * kLanes, y_plane = int64_t(a.P) * a.Q * kLanes;
  for (int64_t g = units->begin; g < units->end; g++)
    for (int32_t c = 0; c < a.C; c++) {
      const float* w = a.w + int64_t(c) * kernels * taps;
      for (int32_t i = 0; i < kernels * a.R; i++)
        for (int32_t t = 0; t < used; t++) weights[i * a.S + t] = w[i * a.S + f.tap[t]];
      for (int32_t k = 0; k < kernels; k++) dy[k].Begin(a.y + g * a.y_group + (int64_t(c) * kernels + k) * y_plane);
      InputGradientPlane(a, a.x + g * a.x_group + c * x_plane, dy, weights, f, lines);
    }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
