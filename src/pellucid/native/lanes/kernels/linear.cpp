// Linear layers. Forward and input's gradient are one product, with the weight as it is or transposed:
//
//   out[g, m] = start + sum over j of weight(m, j) in[g, j]
//   forward: m = o, j = i, weight(m, j) = w[m I + j]; input's gradient: m = i, j = o, weight(m, j) = w[j I + m]
//
// Lanes are pictures, weights are splat: one multiply-add a term, in the order of j, so all targets give the same bits.
// A large weight streams from memory once for all groups: a block of registers is some m for up to 8 groups, and j goes
// in pieces so that the groups' in[g, j] stay in L1. By groups each weight is read once for its only multiply-add.
//
// The weight's gradient has pictures as the sum, and features in the lanes:
//
//   dw[o, i] = sum over n of dy[n, o] x[n, i]
//
// x is turned to [I / 64][n][64] for it (linear_pack, or the kernel itself), dy is splat from where it is.
#include "../kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr bool kManyRegisters = kLanes == 16;  // 32 vector registers, else 16
constexpr int64_t kPiece = 64;                 // of j
constexpr int kPanel = 64;                     // features of x that stand together in `packed`

// How many m a block of registers holds for so many groups.
constexpr int RowsFor(int groups) {
  if (kManyRegisters) return groups == 8 ? 3 : groups == 4 ? 6 : 12;
  return groups >= 4 ? 3 : groups == 2 ? 6 : 8;
}
constexpr int kMostGroups = kManyRegisters ? 8 : 4;

struct Product {
  const float* in;     // [G][J][L]
  const float* w;      // weight(0, 0)
  const float* start;  // [M] or null for 0
  float* out;          // [G][M][L]
  int64_t in_group, out_group, I;
  bool accumulate;  // onto what is in out
};

struct Range {
  int64_t first, last;
};

// MB rows from m on, GB groups from g on, terms j: from the start, or from what is in out.
template <bool kTransposed, int MB, int GB>
void Rows(const Product& p, int64_t g, int64_t m, Range j, bool more) {
  float* out = p.out + g * p.out_group + m * kLanes;
  Vector sum[GB][MB];
  PELLUCID_UNROLL(12)
  for (int b = 0; b < GB; b++)
    PELLUCID_UNROLL(12)
    for (int i = 0; i < MB; i++)
      sum[b][i] = more ? Load(out + b * p.out_group + i * kLanes) : p.start != nullptr ? Splat(p.start[m + i]) : Vector{};
  const float* in = p.in + g * p.in_group + j.first * kLanes;
  const float* w = p.w + (kTransposed ? j.first * p.I + m : m * p.I + j.first);
  const int64_t across = kTransposed ? 1 : p.I, along = kTransposed ? p.I : 1, in_group = p.in_group;
  for (int64_t n = j.last - j.first; n > 0; n--, in += kLanes, w += along) {
    if constexpr (GB == 1) {
      const Vector v = Load(in);
      PELLUCID_UNROLL(12)
      for (int i = 0; i < MB; i++) sum[0][i] += v * w[i * across];
    } else {
      Vector s[MB];
      PELLUCID_UNROLL(12)
      for (int i = 0; i < MB; i++) s[i] = InRegister(w[i * across]);
      PELLUCID_UNROLL(12)
      for (int b = 0; b < GB; b++) {
        const Vector v = Load(in + b * in_group);
        PELLUCID_UNROLL(12)
        for (int i = 0; i < MB; i++) sum[b][i] += v * s[i];
      }
    }
  }
  PELLUCID_UNROLL(12)
  for (int b = 0; b < GB; b++)
    PELLUCID_UNROLL(12)
    for (int i = 0; i < MB; i++) Store(out + b * p.out_group + i * kLanes, sum[b][i]);
}

typedef void (*RowsFunction)(const Product&, int64_t, int64_t, Range, bool);

template <bool kTransposed, int GB, int MB = RowsFor(GB)>
RowsFunction ChooseRows(int64_t rows) {
  if constexpr (MB > 1)
    if (rows < MB) return ChooseRows<kTransposed, GB, MB - 1>(rows);
  return Rows<kTransposed, MB, GB>;
}

template <bool kTransposed, int GB>
void AllRows(const Product& p, int64_t g, Range m, Range j, bool more) {
  const int64_t count = m.last - m.first, blocks = (count + RowsFor(GB) - 1) / RowsFor(GB);
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t first = m.first + b * count / blocks, rows = m.first + (b + 1) * count / blocks - first;
    ChooseRows<kTransposed, GB>(rows)(p, g, first, j, more);
  }
}

// Rows m of all groups given, terms 0 <= j < terms.
template <bool kTransposed>
void Multiply(const Product& p, Range groups, Range m, int64_t terms) {
  const bool alone = groups.last - groups.first == 1;
  const int64_t piece = alone ? 8 * kPiece : kPiece;
  for (int64_t j = 0; j == 0 || j < terms; j += piece) {
    const Range part = {j, Least(terms, j + piece)};
    const bool more = j > 0 || p.accumulate;
    for (int64_t g = groups.first; g < groups.last;) {
      const int64_t left = groups.last - g;
      if (kMostGroups >= 8 && left >= 8)
        AllRows<kTransposed, kMostGroups>(p, g, m, part, more), g += kMostGroups;
      else if (left >= 4)
        AllRows<kTransposed, 4>(p, g, m, part, more), g += 4;
      else if (left >= 2)
        AllRows<kTransposed, 2>(p, g, m, part, more), g += 2;
      else
        AllRows<kTransposed, 1>(p, g, m, part, more), g += 1;
    }
  }
}

Product ForwardProduct(const LinearArguments& a) { return {a.x, a.w, a.bias, a.y, a.x_group, a.y_group, a.I, false}; }
Product InputProduct(const LinearArguments& a) {
  return {a.y, a.w, nullptr, a.x, a.y_group, a.x_group, a.I, a.accumulate != 0};
}

// Features of one group turned: packed[i / kPanel][row .. row + L)[kPanel], panels panel_floats apart; zeros past I.
void Turn(const float* x, int64_t I, float* packed, int64_t panel_floats) {
  for (int64_t i = 0; i < I; i += kLanes) {
    Vector r[kLanes];
    for (int64_t k = 0; k < kLanes; k++) r[k] = i + k < I ? Load(x + (i + k) * kLanes) : Vector{};
    Transpose(r);
    float* to = packed + i / kPanel * panel_floats + i % kPanel;
    for (int l = 0; l < kLanes; l++) Store(to + l * kPanel, r[l]);
  }
}

constexpr int kOutputs = 6;                       // of a block of registers
constexpr int kVectors = kManyRegisters ? 4 : 2;  // of features

// dw of OB outputs (dy from y on) and kVectors vectors of features (from x on) over all pictures of some groups. count:
// features to write. more: whether onto what is there.
template <int OB>
void Gradient(const float* y, int64_t y_group, int64_t groups, const float* x, float* w, int64_t I, int64_t count,
              bool more) {
  constexpr int kFloats = kVectors * kLanes;
  Vector sum[OB][kVectors] = {};
  for (int64_t g = 0; g < groups; g++, y += y_group)
    for (int l = 0; l < kLanes; l++, x += kPanel) {
      Vector v[kVectors];
      PELLUCID_UNROLL(8)
      for (int i = 0; i < kVectors; i++) v[i] = Load(x + i * kLanes);
      PELLUCID_UNROLL(8)
      for (int o = 0; o < OB; o++) {
        const Vector d = InRegister(y[o * kLanes + l]);
        PELLUCID_UNROLL(8)
        for (int i = 0; i < kVectors; i++) sum[o][i] += d * v[i];
      }
    }
  if (count >= kFloats) {
    PELLUCID_UNROLL(8)
    for (int o = 0; o < OB; o++)
      PELLUCID_UNROLL(8)
      for (int i = 0; i < kVectors; i++) {
        float* to = w + o * I + i * kLanes;
        Vector before{};
        if (more) memcpy(&before, to, sizeof before);
        before += sum[o][i];
        memcpy(to, &before, sizeof before);
      }
    return;
  }
  for (int o = 0; o < OB; o++) {
    float row[kFloats];
    memcpy(row, sum[o], sizeof row);
    for (int64_t i = 0; i < count; i++) w[o * I + i] = (more ? w[o * I + i] : 0.0f) + row[i];
  }
}

typedef void (*GradientFunction)(const float*, int64_t, int64_t, const float*, float*, int64_t, int64_t, bool);

template <int OB = kOutputs>
GradientFunction ChooseGradient(int64_t outputs) {
  if constexpr (OB > 1)
    if (outputs < OB) return ChooseGradient<OB - 1>(outputs);
  return Gradient<OB>;
}

// dw and dbias (either may be null) of some outputs over groups whose x is turned in `packed`.
void AddOutputs(const LinearArguments& a, const float* y, int64_t groups, const float* packed, Range outputs, float* w,
                float* bias, bool more) {
  const int64_t O = outputs.last - outputs.first, blocks = (O + kOutputs - 1) / kOutputs;
  const int64_t panel_floats = groups * kLanes * kPanel;
  for (int64_t i = 0; w != nullptr && i < a.I; i += kVectors * kLanes) {
    const float* x = packed + i / kPanel * panel_floats + i % kPanel;
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t o = outputs.first + b * O / blocks, rows = outputs.first + (b + 1) * O / blocks - o;
      ChooseGradient(rows)(y + o * kLanes, a.y_group, groups, x, w + o * a.I + i, a.I, a.I - i, more);
    }
  }
  if (bias == nullptr) return;
  for (int64_t o = outputs.first; o < outputs.last; o++) {
    Vector sum{};
    for (int64_t g = 0; g < groups; g++) sum += Load(y + g * a.y_group + o * kLanes);
    bias[o] = (more ? bias[o] : 0.0f) + Sum(sum);
  }
}

PELLUCID_INLINE int64_t Panels(int64_t I) { return (I + kPanel - 1) / kPanel; }

}  // namespace

// By groups.
void LinearForward(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++) Multiply<false>(ForwardProduct(a), {g, g + 1}, {0, a.O}, a.I);
}

// Units: blocks of `block` outputs, for all groups.
void LinearForwardBlocks(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  const Range outputs = {range->begin * a.block, Least(a.O, range->end * a.block)};
  if (outputs.first < outputs.last) Multiply<false>(ForwardProduct(a), {0, a.G}, outputs, a.I);
}

// By groups.
void LinearInputGradient(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++) Multiply<true>(InputProduct(a), {g, g + 1}, {0, a.I}, a.O);
}

// Units: blocks of `block` inputs, for all groups.
void LinearInputGradientBlocks(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  const Range inputs = {range->begin * a.block, Least(a.I, range->end * a.block)};
  if (inputs.first < inputs.last) Multiply<true>(InputProduct(a), {0, a.G}, inputs, a.O);
}

// By groups, into the slot's partial sums: w + slot * w_slot and bias + slot * w_slot, or null for what nobody wants.
void LinearWeightGradient(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  float* w = a.w != nullptr ? a.w + range->slot * a.w_slot : nullptr;
  float* bias = a.bias != nullptr ? a.bias + range->slot * a.w_slot : nullptr;
  float* packed = pellucid_lanes_scratch(0, Panels(a.I) * kPanel * kLanes);
  for (int64_t g = range->begin; g < range->end; g++) {
    if (w != nullptr) Turn(a.x + g * a.x_group, a.I, packed, kLanes * kPanel);
    AddOutputs(a, a.y + g * a.y_group, 1, packed, {0, a.O}, w, bias, !range->first || g > range->begin);
  }
}

// By groups: x into `packed`, for the kernel below.
void LinearPack(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  for (int64_t g = range->begin; g < range->end; g++)
    Turn(a.x + g * a.x_group, a.I, a.packed + g * kLanes * kPanel, int64_t{a.G} * kLanes * kPanel);
}

// Units: blocks of `block` outputs, for all groups; w and bias (or null) are written whole. Reads `packed`, not x.
void LinearWeightGradientBlocks(const void* arguments, const PellucidUnits* range) {
  const LinearArguments& a = *static_cast<const LinearArguments*>(arguments);
  const Range outputs = {range->begin * a.block, Least(a.O, range->end * a.block)};
  if (outputs.first < outputs.last) AddOutputs(a, a.y, a.G, a.packed, outputs, a.w, a.bias, false);
}

}  // namespace pellucid::lanes::PELLUCID_ISA
