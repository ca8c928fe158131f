// The kernels of the portable target against loops over single numbers, for processors on which Python's tests do not
// run: built by scripts/lanes_on_arm.sh for another processor and run by an emulator. Says what it checked; returns how
// many checks failed.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <functional>
#include <vector>

#include "../../src/pellucid/native/lanes/arguments.h"
#include "../../src/pellucid/native/lanes/step.h"

namespace {

typedef std::vector<float> Floats;

constexpr int kPictures = 6;  // does not fill the lanes of two groups

int lanes, failures;

float Number(int i) { return float((i * 7919 % 2003) - 1001) / 500.0f; }

Floats Numbers(int64_t n, int seed) {
  Floats numbers(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; i++) numbers[size_t(i)] = Number(int(i) * 31 + seed * 17);
  return numbers;
}

float* Aligned(Floats& numbers) {
  return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(numbers.data()) + 63) / 64 * 64);
}

// Memory in the layout of lanes, aligned.
struct Lanes {
  float* memory;
  int64_t size;  // numbers of a picture
  int groups;

  explicit Lanes(int64_t numbers) : size(numbers), groups((kPictures + lanes - 1) / lanes) {
    memory = static_cast<float*>(aligned_alloc(64, size_t((groups * size * lanes * 4 + 63) / 64 * 64)));
    memset(memory, 0, size_t(groups * size * lanes) * 4);
  }
  ~Lanes() { free(memory); }
  Lanes(const Lanes&) = delete;
  float& At(int picture, int64_t i) { return memory[(picture / lanes * size + i) * lanes + picture % lanes]; }
  // dead: in the lanes past the end; by default the last picture once more.
  void Write(const Floats& pictures, bool zero = false) {
    for (int n = 0; n < groups * lanes; n++)
      for (int64_t i = 0; i < size; i++) {
        const int from = n < kPictures ? n : kPictures - 1;
        At(n, i) = zero && n >= kPictures ? 0 : pictures[size_t(from * size + i)];
      }
  }
  Floats Read() {
    Floats pictures;
    for (int n = 0; n < kPictures; n++)
      for (int64_t i = 0; i < size; i++) pictures.push_back(At(n, i));
    return pictures;
  }
};

int32_t Kernel(const char* name) {
  for (int32_t i = 0; i < pellucid_lanes_kernels(); i++)
    if (!strcmp(pellucid_lanes_kernel_name(i), name)) return i;
  printf("there is no kernel %s\n", name);
  exit(99);
}

// units 0: by groups.
template <typename Arguments>
void Call(const char* name, Arguments arguments, int64_t units = 0) {
  PellucidStep step{Kernel(name), units == 0, units, 0};
  PellucidRun run{};
  run.target = pellucid_lanes_targets() - 1;
  run.threads = 1;
  run.steps = &step;
  run.step_count = 1;
  run.arguments = reinterpret_cast<char*>(&arguments);
  run.groups = (kPictures + lanes - 1) / lanes;
  run.slots = 1;
  pellucid_lanes_run(&run);
}

void Check(const char* what, const Floats& found, const Floats& wanted, float tolerance) {
  float largest = 0, error = 0;
  for (size_t i = 0; i < wanted.size(); i++) {
    largest = fmaxf(largest, fabsf(wanted[i]));
    error = fmaxf(error, found[i] == found[i] ? fabsf(found[i] - wanted[i]) : INFINITY);
  }
  const bool right = found.size() == wanted.size() && largest > 0.1f && error <= tolerance * largest;
  printf("%s %s: largest error %.2g of %.3g\n", right ? "right" : "WRONG", what, double(error), double(largest));
  failures += !right;
}

// A convolution and both its gradients by loops. w: [K][C / groups][R][S].
struct Convolution {
  ConvolutionArguments a{};
  Floats x, w, dy, y, dx, dw;

  Convolution(int C, int H, int W, int K, int R, int stride, int pad, int groups) {
    const int P = (H + 2 * pad - R) / stride + 1, Q = (W + 2 * pad - R) / stride + 1;
    a.C = C, a.H = H, a.W = W, a.K = K, a.R = a.S = R, a.P = P, a.Q = Q, a.stride_h = a.stride_w = stride;
    a.pad_h = a.pad_w = pad, a.dilation_h = a.dilation_w = 1, a.conv_groups = groups;
    a.G = (kPictures + lanes - 1) / lanes, a.live = kPictures - (a.G - 1) * lanes;
    a.x_group = int64_t(C) * H * W * lanes, a.y_group = int64_t(K) * P * Q * lanes;
    const int inside = C / groups;
    x = Numbers(int64_t(kPictures) * C * H * W, 1), w = Numbers(int64_t(K) * inside * R * R, 2);
    dy = Numbers(int64_t(kPictures) * K * P * Q, 3);
    y.resize(dy.size()), dx.resize(x.size()), dw.resize(w.size());
    for (int n = 0; n < kPictures; n++)
      for (int k = 0; k < K; k++)
        for (int p = 0; p < P; p++)
          for (int q = 0; q < Q; q++)
            for (int c = 0; c < inside; c++)
              for (int r = 0; r < R; r++)
                for (int s = 0; s < R; s++) {
                  const int h = p * stride + r - pad, v = q * stride + s - pad;
                  if (h < 0 || h >= H || v < 0 || v >= W) continue;
                  const size_t out = size_t(((n * K + k) * P + p) * Q + q);
                  const size_t weight = size_t(((k * inside + c) * R + r) * R + s);
                  const size_t in = size_t(((n * C + k / (K / groups) * inside + c) * H + h) * W + v);
                  y[out] += x[in] * w[weight];
                  dx[in] += dy[out] * w[weight];
                  dw[weight] += dy[out] * x[in];
                }
  }
};

void CheckConvolution(const char* family, int C, int H, int W, int K, int R, int stride, int pad, int groups) {
  Convolution c(C, H, W, K, R, stride, pad, groups);
  Lanes x(int64_t(C) * H * W), y(int64_t(K) * c.a.P * c.a.Q);
  Floats packed(c.w.size() * 2 + 64), parts(c.w.size() + 64);
  char name[64];
  const auto kernel = [&](const char* part) {
    snprintf(name, sizeof name, "%s_%s", family, part);
    return name;
  };
  c.a.x = x.memory, c.a.y = y.memory, c.a.w = c.w.data(), c.a.packed = packed.data();
  const bool packs = strcmp(family, "depthwise") != 0;
  x.Write(c.x);
  if (packs) Call(kernel("pack"), c.a, groups * ((K / groups + 3) / 4));
  Call(kernel("forward"), c.a);
  Check(kernel("forward"), y.Read(), c.y, 1e-5f);
  y.Write(c.dy, true);
  if (packs) Call(kernel("pack_transposed"), c.a, groups * ((C / groups + 3) / 4));
  Call(kernel("input_gradient"), c.a);
  Check(kernel("input_gradient"), x.Read(), c.dx, 1e-5f);
  x.Write(c.x);
  c.a.w = parts.data(), c.a.w_slot = int64_t(parts.size());
  Call(kernel("weight_gradient"), c.a);
  parts.resize(c.w.size());
  Check(kernel("weight_gradient"), parts, c.dw, 1e-5f);
}

void CheckWinograd() {
  const int C = 6, K = 9, H = 7, W = 10;
  Convolution c(C, H, W, K, 3, 1, 1, 1);
  Lanes x(int64_t(C) * H * W), y(int64_t(K) * H * W);
  Floats packed(36 * 12 * 12 + 16), parts(36 * K * 8 + 16), gradient(c.w.size());
  x.Write(c.x);
  WinogradArguments a{};
  a.x = x.memory, a.y = y.memory, a.w = c.w.data(), a.x_group = c.a.x_group, a.y_group = c.a.y_group;
  a.packed = Aligned(packed);
  a.G = c.a.G, a.live = c.a.live, a.C = C, a.H = H, a.W = W, a.K = K, a.P = H, a.Q = W;
  a.pad_h = a.pad_w = 1, a.tile = 4;
  Call("winograd_pack", a, 1);
  Call("winograd_forward", a);
  Check("winograd_forward", y.Read(), c.y, 1e-5f);
  y.Write(c.dy, true);
  Call("winograd_pack_transposed", a, 1);
  Call("winograd_input_gradient", a);
  Check("winograd_input_gradient", x.Read(), c.dx, 1e-5f);
  x.Write(c.x);
  a.parts = Aligned(parts), a.part_count = 1, a.w = gradient.data();
  Call("winograd_weight_gradient", a);
  Call("winograd_weight_finish", a, K);
  Check("winograd_weight_gradient", gradient, c.dw, 1e-5f);
}

void CheckLayout() {
  const int64_t M = 37;
  Floats plain = Numbers(kPictures * M, 4), back(plain.size());
  Lanes there(M);
  LayoutArguments a{};
  a.plain = plain.data(), a.lanes = there.memory, a.lanes_group = M * lanes, a.M = M, a.N = kPictures;
  Call("to_lanes", a);
  Check("to_lanes", there.Read(), plain, 0);
  a.plain = back.data();
  Call("from_lanes", a);
  Check("from_lanes", back, plain, 0);
}

void CheckNorms() {
  const int C = 6, M = 11;
  const Floats numbers = Numbers(int64_t(kPictures) * C * M, 5);
  Floats pixels(numbers.size()), whole(numbers.size()), local(numbers.size());
  for (int n = 0; n < kPictures; n++) {
    const float* x = numbers.data() + n * C * M;
    double all = 0, squares = 0;
    for (int i = 0; i < C * M; i++) all += double(x[i]) / (C * M);
    for (int i = 0; i < C * M; i++) squares += (x[i] - all) * (x[i] - all) / (C * M);
    for (int m = 0; m < M; m++) {
      double mean = 0, square = 0;
      for (int c = 0; c < C; c++) mean += double(x[c * M + m]) / C;
      for (int c = 0; c < C; c++) square += (x[c * M + m] - mean) * (x[c * M + m] - mean) / C;
      for (int c = 0; c < C; c++) {
        double near = 0;
        for (int i = c - 1; i <= c + 1; i++)
          if (i >= 0 && i < C) near += double(x[i * M + m]) * x[i * M + m];
        const size_t at = size_t(n * C * M + c * M + m);
        pixels[at] = float((x[c * M + m] - mean) / sqrt(square + 1e-5));
        whole[at] = float((x[c * M + m] - all) / sqrt(squares + 1e-5));
        local[at] = float(x[c * M + m] * pow(1 + 0.5 / 3 * near, -0.6));
      }
    }
  }
  Lanes x(C * M), y(C * M);
  x.Write(numbers);
  Floats statistics(size_t(2 * M * 2 * lanes * 4 + 16));
  LayerNormArguments a{};
  a.x = x.memory, a.y = y.memory, a.x_group = a.y_group = C * M * lanes, a.G = x.groups, a.live = kPictures;
  a.statistics = Aligned(statistics);
  a.C = C, a.M = M, a.norm_groups = 1, a.centred = 1, a.eps = 1e-5f;
  Call("pixel_norm_forward", a);
  Check("pixel_norm_forward", y.Read(), pixels, 1e-5f);
  Call("group_norm_forward", a);
  Check("group_norm_forward", y.Read(), whole, 1e-5f);
  LocalResponseNormArguments r{};
  r.x = x.memory, r.y = y.memory, r.x_group = r.y_group = C * M * lanes, r.C = C, r.M = M, r.size = 3;
  r.alpha = 0.5f, r.beta = 0.6f, r.k = 1;
  Call("local_response_norm_forward", r);
  Check("local_response_norm_forward", y.Read(), local, 1e-5f);
}

void CheckPooling() {
  const int C = 3, H = 7, W = 6, P = 3, Q = 3;
  const Floats numbers = Numbers(int64_t(kPictures) * C * H * W, 6);
  Floats most, means;
  for (int map = 0; map < kPictures * C; map++)
    for (int p = 0; p < P; p++)
      for (int q = 0; q < Q; q++) {
        float best = -INFINITY, sum = 0;
        for (int r = 0; r < 2; r++)
          for (int s = 0; s < 2; s++) {
            const float v = numbers[size_t((map * H + 2 * p + r) * W + 2 * q + s)];
            best = fmaxf(best, v), sum += v;
          }
        most.push_back(best), means.push_back(sum / 4);
      }
  Lanes x(C * H * W), y(C * P * Q);
  x.Write(numbers);
  PoolingArguments a{};
  a.x = x.memory, a.y = y.memory, a.x_group = C * H * W * lanes, a.y_group = C * P * Q * lanes, a.G = x.groups;
  a.live = kPictures, a.C = C, a.H = H, a.W = W, a.P = P, a.Q = Q, a.R = a.S = a.stride_h = a.stride_w = 2;
  a.dilation_h = a.dilation_w = 1, a.include_pad = 1;
  Call("max_pool_forward", a);
  Check("max_pool_forward", y.Read(), most, 0);
  Call("average_pool_forward", a);
  Check("average_pool_forward", y.Read(), means, 1e-6f);
}

}  // namespace

int main() {
  const int32_t target = pellucid_lanes_targets() - 1;
  lanes = pellucid_lanes_target_lanes(target);
  printf("target %s, %d lanes, %d kernels\n", pellucid_lanes_target_name(target), lanes, pellucid_lanes_kernels());
  CheckLayout();
  CheckConvolution("direct", 5, 7, 9, 6, 3, 1, 1, 1);
  CheckConvolution("direct", 6, 8, 9, 4, 5, 2, 2, 2);
  CheckConvolution("depthwise", 4, 9, 14, 4, 3, 1, 1, 4);
  CheckConvolution("depthwise", 4, 10, 13, 8, 5, 2, 2, 4);
  CheckWinograd();
  CheckNorms();
  CheckPooling();
  printf("%d wrong\n", failures);
  return failures;
}
