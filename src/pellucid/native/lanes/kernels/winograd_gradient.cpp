// The weight's gradient by Winograd's method where its sums stay in L2: all points of few channels, or one pair of rows
// of points of a block of kernels, for which a thread then goes through a part of the batch.
#include "../winograd_gradient.h"

namespace pellucid::lanes::PELLUCID_ISA {

namespace {

constexpr int64_t kNearBytes = 1700 << 10, kLeastBytes = 600 << 10;  // of L2
constexpr int64_t kMostTilesOfGradient = kMostAhead;

struct Share {
  int64_t group, group_end;  // of lanes
  int64_t k, k_end;          // kernels
  int first, last;           // pairs of rows of points
  int64_t part;
  bool begins;
};

template <int M>
void Accumulate(const WinogradArguments& a, const Share& s) {
  constexpr int A = M + 2;
  const int64_t across = (a.Q + M - 1) / M, tiles = (a.P + M - 1) / M * across;
  const int64_t Cp = RoundUp(a.C, kLanes), kernels = s.k_end - s.k;
  const int64_t points = 2 * A * (s.last - s.first), sum_bytes = points * kernels * Cp * 4;
  const int64_t tile_bytes = points * (Cp + kernels) * kLanes * 4;
  const int64_t fitting = Most(kLeastBytes, kNearBytes - sum_bytes) / tile_bytes;
  const Blocks chunks(tiles, Most(1, Least(kMostTilesOfGradient, fitting)));
  const int64_t row = chunks.length(0) * kLanes, x_plane = Cp * row + kLanes, y_plane = kernels * row + kLanes;
  float* x_points = pellucid_lanes_scratch(0, A * A * x_plane);
  float* y_points = pellucid_lanes_scratch(1, A * A * y_plane);
  float* sums = a.parts + s.part * A * A * a.K * Cp;
  bool begins = s.begins;
  for (int64_t g = s.group; g < s.group_end; g++) {
    if (a.bias != nullptr && s.first == 0)
      SumBias(a, g, s.k, s.k_end, a.bias + s.part * a.K, s.begins && g == s.group);
    for (int64_t i = 0; i < chunks.count; i++, begins = false) {
      const int64_t pictures = chunks.length(i) * kLanes;
      const TurnedPoints x = TurnedPoints::Of(x_points, x_plane, a.C, pictures);
      TurnInput<M, false>(a, g, chunks.begin(i), chunks.begin(i + 1), 0, s.first, s.last, x);
      TransformOutputGradient<M, false>(a, g, chunks.begin(i), chunks.begin(i + 1), s.k, s.k_end, s.first, s.last,
                                        y_points, y_plane, row);
      Ahead ahead{};
      if (i + 1 < chunks.count || g + 1 < s.group_end) {
        const int64_t group = g + (i + 1 == chunks.count), next = (i + 1) % chunks.count;
        ahead.first = TilesAhead(a.x + group * a.x_group, a.C, a.H, a.W, M, A, across, chunks.begin(next),
                                 chunks.begin(next + 1), a.pad_h, a.pad_w);
        ahead.second = TilesAhead(a.y + group * a.y_group + s.k * a.P * a.Q * kLanes, kernels, a.P, a.Q, M, M, across,
                                  chunks.begin(next), chunks.begin(next + 1), 0, 0);
        ahead.Pace(points * (kernels / kMostKernels) * ((x.vectors + kMostVectors - 1) / kMostVectors));
      }
      for (int pair = s.first; pair < s.last; pair++)
        for (int j = 0; j < 2 * A; j++) {
          const int point = j < A ? FirstRow<M>(pair) * A + j : SecondRow<M>(pair) * A + j - A;
          MultiplyGradient(x, point, 0, pictures, y_points + point * y_plane, row, kernels,
                           sums + (point * int64_t(a.K) + s.k) * Cp, begins, ahead);
        }
    }
  }
}

void AccumulateShare(const WinogradArguments& a, const Share& s) {
  if (a.tile == 4)
    Accumulate<4>(a, s);
  else
    Accumulate<2>(a, s);
}

template <int M>
void Finish(const WinogradArguments& a, int64_t k) {
  constexpr int A = M + 2;
  const int64_t Cp = RoundUp(a.C, kLanes), part = A * A * int64_t(a.K) * Cp;
  for (int64_t c = 0; c < a.C; c += kLanes) {
    Vector columns[A][3];
    for (int j = 0; j < A; j++) {
      Vector u[A];
      for (int i = 0; i < A; i++) {
        const float* sums = a.parts + ((i * A + j) * int64_t(a.K) + k) * Cp + c;
        u[i] = Load(sums);
        for (int p = 1; p < a.part_count; p++) u[i] += Load(sums + p * part);
      }
      Winograd<M>::WeightGradient(u, columns[j]);
    }
    alignas(64) float numbers[9][kLanes];
    for (int i = 0; i < 3; i++) {
      Vector row[A], g[3];
      for (int j = 0; j < A; j++) row[j] = columns[j][i];
      Winograd<M>::WeightGradient(row, g);
      for (int j = 0; j < 3; j++) Store(numbers[3 * i + j], g[j]);
    }
    float* out = a.w + (k * a.C + c) * 9;
    const int64_t channels = Least(kLanes, a.C - c);
    for (int64_t l = 0; l < channels; l++)
      for (int i = 0; i < 9; i++) out[l * 9 + i] = numbers[i][l];
  }
}

}  // namespace

// By groups: parts[slot] = the sums over the slot's groups, all points. part_count = slots (every slot has a group).
// bias: null, or parts of dL/dbias, [part_count][K].
void WinogradWeightGradient(const void* arguments, const PellucidUnits* range) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  const int pairs = a.tile == 4 ? 3 : 2;
  AccumulateShare(a, {range->begin, range->end, 0, a.K, 0, pairs, range->slot, range->first != 0});
}

// Units: part_count * pairs * ceil(K / block), where pairs = tile / 2 + 1 if row_sets = 1, else 1; block = 0 means K.
// parts[part] = the sums over groups [G part / part_count, G (part + 1) / part_count): as many parts as groups at most.
// bias as above.
void WinogradWeightGradientBlocks(const void* arguments, const PellucidUnits* range) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  const int64_t pairs = a.tile / 2 + 1, sets = a.row_sets ? pairs : 1, block = a.block ? a.block : a.K;
  const int64_t blocks = (a.K + block - 1) / block;
  for (int64_t unit = range->begin; unit < range->end; unit++) {
    const int64_t part = unit / (sets * blocks), set = unit / blocks % sets, k = unit % blocks * block;
    AccumulateShare(a, {a.G * part / a.part_count, a.G * (part + 1) / a.part_count, k, Least(a.K, k + block),
                        int(a.row_sets ? set : 0), int(a.row_sets ? set + 1 : pairs), part, true});
  }
}

// Units: K. w = G' (sum of the parts, in their order) G.
void WinogradWeightFinish(const void* arguments, const PellucidUnits* range) {
  const WinogradArguments& a = *static_cast<const WinogradArguments*>(arguments);
  for (int64_t k = range->begin; k < range->end; k++) {
    if (a.tile == 4)
      Finish<4>(a, k);
    else
      Finish<2>(a, k);
  }
}

}  // namespace pellucid::lanes::PELLUCID_ISA
