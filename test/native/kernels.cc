// Our own kernels beside libtorch's composed operators in float64: values and all gradients, on random shapes. Prints a
// line for each case: its name and the largest error, relative to the largest number expected. Which kernels there are
// is up to ATEN_CPU_CAPABILITY; the last line says for which instruction set libtorch was told to compute.
//
// With the argument `time`: shapes of the demo's and the paper's U-Net, 32 images (of convolutions, 4 and 1 too), on
// one thread; for each the milliseconds of processor time that ours and libtorch's operators take in the same number
// format, channels-last, forward and backward, and how many times faster ours are. Medians of nine, in turn.
//
// With the argument `cuda`, also after `time`: on the first GPU, where time is the clock's, of twenty times the work on
// 256 images.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "nn/functions.h"

namespace {

using Tensors = std::vector<at::Tensor>;
using Function = std::function<at::Tensor(const Tensors&)>;

at::Device device(at::kCPU);

/// Value and gradients of `function` with respect to all inputs, in the dtype given; the gradient of the value is a
/// number of the dtype `given`.
Tensors valueAndGradients(const Function& function, const Tensors& inputs, at::ScalarType dtype, at::ScalarType given) {
  Tensors leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.to(dtype).detach().requires_grad_(true));
  const at::Device there = inputs.front().device();
  const at::Tensor value = function(leaves);
  const at::Tensor weights =
      at::sin(at::arange(value.numel(), at::kDouble)).view(value.sizes()).to(given).to(there, dtype);
  Tensors result{value};
  for (const at::Tensor& g : torch::autograd::grad({value}, leaves, {weights})) result.push_back(g);
  return result;
}

void compare(const std::string& name, const Function& ours, const Function& composed, const Tensors& inputs,
             at::ScalarType dtype) {
  // The reference sees the inputs as our kernel does, rounded.
  Tensors rounded;
  for (const at::Tensor& input : inputs) rounded.push_back(input.to(dtype));
  Tensors there;
  for (const at::Tensor& input : rounded) there.push_back(input.to(device));
  const Tensors found = valueAndGradients(ours, there, dtype, dtype);
  const Tensors expected = valueAndGradients(composed, rounded, at::kDouble, dtype);
  double error = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const at::Tensor difference = (found[i].to(at::kCPU, at::kDouble) - expected[i]).abs().max();
    const double relative = (difference / expected[i].abs().max()).item<double>();
    if (!(relative <= error)) error = relative;  // so that a NaN stays one
  }
  std::cout << name << ' ' << error << '\n';
}

double milliseconds(const std::function<void()>& work) {
  if (device.is_cuda()) {
    const c10::impl::VirtualGuardImpl gpu(device.type());
    gpu.synchronizeDevice(device.index());
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 20; ++i) work();
    gpu.synchronizeDevice(device.index());
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
  const std::clock_t start = std::clock();
  work();
  return 1000.0 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

void time(const std::string& name, const Function& ours, const Function& composed, const Tensors& inputs,
          at::ScalarType dtype) {
  Tensors leaves;
  for (const at::Tensor& input : inputs) {
    const auto format = input.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    leaves.push_back(input.to(device, dtype).contiguous(format).requires_grad_(true));
  }
  const at::Tensor weights = at::ones_like(composed(leaves));
  const auto run = [&](const Function& function) {
    return milliseconds([&] { torch::autograd::grad({function(leaves)}, leaves, {weights}); });
  };
  std::vector<double> first, second;
  for (int round = -1; round < 9; ++round) {
    const double a = run(ours), b = run(composed);
    if (round < 0) continue;  // libraries choose in the first
    first.push_back(a);
    second.push_back(b);
  }
  const auto median = [](std::vector<double>& all) {
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
  };
  const double a = median(first), b = median(second);
  std::cout << name << ' ' << a << ' ' << b << ' ' << b / a << '\n';
}

bool timed = false;

void judge(const std::string& name, const Function& ours, const Function& composed, const Tensors& inputs,
           at::ScalarType dtype) {
  (timed ? time : compare)(name, ours, composed, inputs, dtype);
}

const char* nameOf(at::ScalarType dtype) { return dtype == at::kFloat ? "float32" : "bfloat16"; }

void convolution(int64_t images, int64_t in, int64_t out, int64_t height, int64_t width, int64_t kernel, int64_t stride,
                 bool summands, at::ScalarType dtype = at::kFloat) {
  const int64_t y = (height - 1) / stride + 1, x = (width - 1) / stride + 1;
  Tensors inputs{at::randn({images, in, height, width}), at::randn({out, in, kernel, kernel}), at::randn({out})};
  if (summands) {
    inputs.push_back(at::randn({images, out}));
    inputs.push_back(at::randn({images, out, y, x}));
  }
  const Function ours = [=](const Tensors& t) {
    return continual::convolution(t[0], t[1], t[2], stride,
                                  summands ? continual::Summands{t[3], t[4]} : continual::Summands{});
  };
  const Function composed = [=](const Tensors& t) {
    const at::Tensor plain = at::conv2d(t[0], t[1], t[2], {stride, stride}, {kernel / 2, kernel / 2});
    return summands ? plain + t[3].unsqueeze(-1).unsqueeze(-1) + t[4] : plain;
  };
  const std::string name = std::string("convolution-") + nameOf(dtype) + "-" + std::to_string(images) + "x" +
                           std::to_string(in) + "x" + std::to_string(height) + "x" + std::to_string(width) + "-to-" +
                           std::to_string(out) + "-kernel-" + std::to_string(kernel) + "-stride-" +
                           std::to_string(stride);
  judge(name, ours, composed, inputs, dtype);
}

void groupNorm(int64_t images, int64_t channels, int64_t groups, int64_t height, int64_t width, bool silu,
               at::ScalarType dtype, double corner = 0) {
  // Far from zero, where a variance from the sum of squares would lose its digits.
  const Tensors inputs{at::randn({images, channels, height, width}) * 2 + 30, at::randn({channels}),
                       at::randn({channels})};
  inputs[0].select(3, 0).select(2, 0).add_(corner);
  const Function ours = [=](const Tensors& t) { return continual::groupNorm(t[0], groups, t[1], t[2], 1e-5, silu); };
  const Function composed = [=](const Tensors& t) {
    const at::Tensor normed = at::group_norm(t[0], groups, t[1], t[2], 1e-5);
    return silu ? at::silu(normed) : normed;
  };
  const std::string name = std::string("group-norm-") + nameOf(dtype) + "-" + std::to_string(images) + "x" +
                           std::to_string(channels) + "x" + std::to_string(height) + "x" + std::to_string(width) +
                           "-groups-" + std::to_string(groups) + (silu ? "-silu" : "");
  judge(name, ours, composed, inputs, dtype);
}

void attention(int64_t images, int64_t tokens, int64_t heads, int64_t headDim, at::ScalarType dtype) {
  const int64_t channels = heads * headDim;
  Tensors inputs;
  for (int i = 0; i < 3; ++i) inputs.push_back(at::randn({images, tokens, channels}) * 2);
  const Function ours = [=](const Tensors& t) { return continual::attention(t[0], t[1], t[2], heads); };
  const Function composed = [=](const Tensors& t) {
    const auto split = [&](const at::Tensor& x) { return x.view({images, tokens, heads, headDim}).transpose(1, 2); };
    return at::scaled_dot_product_attention(split(t[0]), split(t[1]), split(t[2])).transpose(1, 2).flatten(2);
  };
  const std::string name = std::string("attention-") + nameOf(dtype) + "-" + std::to_string(images) + "x" +
                           std::to_string(tokens) + "-heads-" + std::to_string(heads) + "x" + std::to_string(headDim);
  judge(name, ours, composed, inputs, dtype);
}

}  // namespace

int main(int count, char** arguments) {
  at::manual_seed(1);
  const std::vector<std::string> asked(arguments + 1, arguments + count);
  const auto has = [&](const char* name) { return std::find(asked.begin(), asked.end(), name) != asked.end(); };
  timed = has("time");
  if (has("cuda")) {
    device = at::Device(at::kCUDA, 0);
    at::globalContext().setAllowTF32CuBLAS(false);
    at::globalContext().setAllowTF32CuDNN(false);
  }
  if (timed && device.is_cuda()) {
    const std::vector<std::array<int64_t, 2>> paper{{64, 32},  {128, 32}, {192, 32}, {128, 16}, {256, 16},
                                                    {384, 16}, {256, 8},  {768, 8},  {512, 4},  {1024, 4}};
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const auto& [channels, side] : paper) {
        groupNorm(256, channels, 32, side, side, true, dtype);
      }
      attention(256, 16, 64, 8, dtype);
      attention(256, 64, 32, 8, dtype);
    }
    return 0;
  }
  if (timed) {
    at::set_num_threads(1);
    const std::vector<std::array<int64_t, 3>> demo{{16, 16, 16}, {16, 48, 16}, {8, 32, 32},
                                                   {8, 96, 32},  {4, 64, 64},  {4, 128, 64}};
    const std::vector<std::array<int64_t, 3>> paper{{32, 64, 64},  {32, 192, 64}, {16, 128, 128}, {16, 384, 128},
                                                    {8, 256, 256}, {8, 768, 256}, {4, 512, 512},  {4, 1024, 512}};
    for (const int64_t images : {32, 4, 1}) {
      for (const auto& [side, in, out] : demo) convolution(images, in, out, side, side, 3, 1, false);
      for (const auto& [side, in, out] : paper) convolution(images, in, out, side, side, 3, 1, false);
    }
    convolution(32, 48, 16, 16, 16, 1, 1, false);
    convolution(32, 96, 32, 8, 8, 1, 1, false);
    convolution(32, 128, 64, 4, 4, 1, 1, false);
    convolution(32, 192, 64, 32, 32, 1, 1, false);
    for (const int64_t images : {32, 16, 4, 1}) {
      for (const auto& [side, in, out] : demo) convolution(images, in, out, side, side, 3, 1, false, at::kBFloat16);
      for (const auto& [side, in, out] : paper) convolution(images, in, out, side, side, 3, 1, false, at::kBFloat16);
    }
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      groupNorm(32, 16, 8, 16, 16, true, dtype);
      groupNorm(32, 64, 32, 32, 32, true, dtype);
      groupNorm(32, 512, 32, 4, 4, true, dtype);
      attention(32, 16, 8, 8, dtype);
      attention(32, 16, 64, 8, dtype);
      attention(32, 256, 32, 8, dtype);
    }
    return 0;
  }
  for (const int64_t kernel : {1, 3}) {
    convolution(2, 16, 16, 16, 16, kernel, 1, true);
    convolution(2, 48, 16, 7, 5, kernel, 1, false);
    convolution(9, 32, 64, 4, 4, kernel, 1, true);
    convolution(3, 64, 32, 8, 8, kernel, 2, true);
    convolution(3, 192, 64, 3, 11, kernel, 1, false);
    convolution(17, 64, 192, 2, 2, kernel, 1, false);
    convolution(2, 128, 112, 6, 10, kernel, 2, false);
    convolution(97, 32, 16, 12, 13, kernel, 1, true);   // more images than are worked on at once
    convolution(9, 512, 288, 4, 4, kernel, 1, true);    // more channels
    convolution(80, 256, 128, 8, 8, kernel, 1, false);  // more of both
    convolution(8, 32, 48, 1, 1, kernel, 1, false);
    convolution(1, 1024, 16, 8, 9, kernel, 1, false);
    convolution(2, 1, 16, 9, 9, kernel, 1, false);  // here and below, shapes that no kernel of ours is for
    convolution(2, 16, 3, 9, 9, kernel, 1, false);
    convolution(2, 16, 16, 9, 7, kernel, 2, false);
  }
  for (const bool summands : {false, true}) {
    const auto bf16 = [=](int64_t images, int64_t in, int64_t out, int64_t height, int64_t width) {
      convolution(images, in, out, height, width, 3, 1, summands, at::kBFloat16);
    };
    bf16(1, 64, 32, 32, 32);
    bf16(3, 32, 192, 7, 5);
    bf16(2, 192, 64, 16, 16);
    bf16(40, 64, 32, 4, 4);    // two groups of images
    bf16(77, 96, 160, 8, 12);  // of three sizes, more channels than are worked on at once
    bf16(9, 512, 288, 4, 4);   // channels' kernels one after the other
    bf16(33, 64, 64, 1, 2);
    bf16(2, 64, 48, 8, 8);
    bf16(3, 16, 16, 16, 16);
    bf16(5, 48, 16, 4, 4);
    bf16(33, 176, 144, 3, 6);
    bf16(2, 24, 32, 8, 8);  // a shape that no kernel of ours is for
  }
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const bool silu : {true, false}) {
      groupNorm(2, 16, 8, 16, 16, silu, dtype);
      groupNorm(1, 64, 32, 7, 5, silu, dtype);
      groupNorm(3, 192, 32, 4, 4, silu, dtype);
      groupNorm(1, 48, 3, 1, 9, silu, dtype);
      groupNorm(2, 32, 8, 64, 65, silu, dtype, 300);  // a first pixel that is unlike the others
    }
    attention(2, 16, 8, 8, dtype);
    attention(3, 49, 24, 8, dtype);
    attention(1, 256, 4, 8, dtype);
    attention(5, 3, 2, 8, dtype);
    attention(2, 35, 3, 8, dtype);  // here and below, shapes that no kernel of ours is for
    attention(2, 16, 4, 16, dtype);
  }
  std::cout << "capability " << at::get_cpu_capability() << '\n';
}
