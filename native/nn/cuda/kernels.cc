#include "nn/cuda/kernels.h"

#ifdef CONTINUAL_DIFFUSION_CUDA
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <map>
#include <mutex>
#include <optional>

#include "nn/cuda/launch.h"
#include "runtime/failure.h"
#endif

namespace continual::cuda {

#ifdef CONTINUAL_DIFFUSION_CUDA

const char* const kernelSource =
#include "kernels.cu.inc"
    ;

namespace {

using Tensors = std::vector<at::Tensor>;
using Function = std::function<at::Tensor(const Tensors&)>;

/// Throws unless all kernels give what libtorch's operators give in float32 for the same numbers, gradients included.
void tryKernels(const Program* program, at::Device device) {
  const at::AutoGradMode enabled(true);
  const auto numbers = [&](at::IntArrayRef sizes, double step) {
    const int64_t count = c10::multiply_integers(sizes);
    const at::Tensor all = at::sin(at::arange(count, at::TensorOptions(device).dtype(at::kDouble)) * step).view(sizes);
    return sizes.size() == 4 ? all.contiguous(nhwc) : all;
  };
  const auto compare = [&](const char* name, const Function& ours, const Function& theirs, const Tensors& inputs) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      Tensors leaves, exact;
      for (const at::Tensor& t : inputs) {
        leaves.push_back(t.to(dtype).detach().requires_grad_());
        exact.push_back(leaves.back().detach().to(at::kFloat, false, true).requires_grad_());
      }
      Tensors found{ours(leaves)}, expected{theirs(exact)};
      const at::Tensor given = numbers(found[0].sizes(), 1.3).to(dtype);
      for (const at::Tensor& g : torch::autograd::grad({found[0]}, leaves, {given})) found.push_back(g);
      for (const at::Tensor& g : torch::autograd::grad({expected[0]}, exact, {given.to(at::kFloat)})) {
        expected.push_back(g);
      }
      for (size_t i = 0; i < found.size(); ++i) {
        const at::Tensor difference = (found[i].to(at::kFloat) - expected[i]).abs().max();
        const auto off = (difference / expected[i].abs().max()).item<double>();
        TORCH_CHECK(off < (dtype == at::kFloat ? 1e-3 : 0.02), "our ", name, ", of ", dtype,
                    ", is not that of libtorch: of the largest number they are ", off, " apart",
                    i == 0 ? "" : ", in a gradient");
      }
    }
  };
  // More pixels than a thread keeps vectors, and groups that vectors don't end with.
  constexpr int64_t images = 2, channels = 24, groups = 4, side = 65;
  const at::Tensor x = numbers({images, channels, side, side}, 0.7);
  const at::Tensor weight = numbers({channels}, 0.9), bias = numbers({channels}, 1.1);
  const auto composed = [](const at::Tensor& in, const Tensors& t) {
    return at::group_norm(in, groups, t[1], t[2], 1e-5);
  };
  compare(
      "group norm", [&](const Tensors& t) { return groupNorm(program, {t[0]}, {}, groups, t[1], t[2], 1e-5, false); },
      [&](const Tensors& t) { return composed(t[0], t); }, {x, weight, bias});
  const at::Tensor second = numbers({images, channels / 2, side, side}, 0.4), added = numbers({channels / 2 * 3}, 0.8);
  compare(
      "group norm with SiLU",
      [&](const Tensors& t) {
        Joined in(t[0]);
        in.second = t[3];
        return groupNorm(program, in, {t[4], t[5]}, groups, t[1], t[2], 1e-5, true);
      },
      [&](const Tensors& t) {
        const at::Tensor in = at::cat({t[0], t[3]}, 1) + t[4].view({-1, 1, 1}) + t[5].unsqueeze(2).unsqueeze(3);
        return at::silu(composed(in, t));
      },
      {x, numbers({channels / 2 * 3}, 0.9), numbers({channels / 2 * 3}, 1.1), second, added,
       numbers({images, channels / 2 * 3}, 0.3)});
  const at::Tensor few = numbers({images, channels, 9, 9}, 0.7), image = numbers({images, 40, 9, 9}, 0.2);
  const at::Tensor kernels = numbers({40, channels, 3, 3}, 0.5), biases = numbers({40}, 1.1);
  const auto plain = [](const Tensors& t) { return at::conv2d(t[0], t[1], t[2], 1, 1); };
  compare("convolution", [&](const Tensors& t) { return convolution(program, t[0], t[1], t[2], 1, {}); }, plain,
          {few, kernels, biases});
  compare(
      "convolution with a residual", [&](const Tensors& t) { return convolution(program, t[0], t[1], t[2], 1, t[3]); },
      [&](const Tensors& t) { return plain(t) + t[3]; }, {few, kernels, biases, image});
  compare(
      "linear layer", [&](const Tensors& t) { return linear(program, t[0], t[3], t[1], t[2]); },
      [](const Tensors& t) { return at::linear(at::cat({t[0], t[3]}, 1), t[1], t[2]); },
      {numbers({300, channels}, 0.7), numbers({40, 2 * channels}, 0.5), biases, numbers({300, channels}, 0.3)});
  compare(
      "attention", [&](const Tensors& t) { return attention(program, t[0], t[1], t[2]); },
      [](const Tensors& t) {
        const auto split = [](const at::Tensor& h) { return h.view({h.size(0), h.size(1), -1, 8}).transpose(1, 2); };
        const at::Tensor scores = at::matmul(split(t[0]), split(t[1]).transpose(2, 3)) / std::sqrt(8.0);
        return at::matmul(at::softmax(scores, -1), split(t[2])).transpose(1, 2).flatten(2);
      },
      {numbers({images, 49, channels}, 0.7), numbers({images, 49, channels}, 0.3),
       numbers({images, 49, channels}, 0.2)});
  compare(
      "upsampling", [&](const Tensors& t) { return upsample(program, t[0]); },
      [](const Tensors& t) { return at::upsample_nearest2d(t[0], {18, 18}); }, {few});
  Random here(1, Purpose::sampling, 2), there = here;
  const at::Tensor difference = normal(program, there, {1001}, device).to(at::kCPU) - here.normal({1001});
  const auto off = difference.abs().max().item<double>();
  TORCH_CHECK(off < 1e-4, "our normal numbers are ", off, " away from those of the processor");
}

struct Kernels {
  std::optional<Program> program;
  std::string failure;
};

Kernels compiledFor(at::Device device) {
  try {
    const c10::cuda::CUDAGuard guard(device);
    Kernels kernels{Program(kernelSource, kernelFunctions()), ""};
    tryKernels(&*kernels.program, device);
    return kernels;
  } catch (const c10::OutOfMemoryError&) {
    throw;  // it says nothing about the kernels
  } catch (const std::exception& error) {
    const std::string why = messageOf(error);
    TORCH_WARN(device, " computes without the kernels of continual-diffusion, and so slower: ", why);
    return {std::nullopt, why};
  }
}

/// Of a device, compiled at the first call unless `given`.
const Kernels& kernelsOf(at::Device device, std::optional<Kernels> given = std::nullopt) {
  static std::mutex oneAtATime;
  static std::map<int, Kernels> known;
  const std::lock_guard lock(oneAtATime);
  const auto found = known.find(device.index());
  if (found != known.end()) return found->second;
  return known.emplace(device.index(), given ? *std::move(given) : compiledFor(device)).first->second;
}

}  // namespace

std::string nameFor(const char* function, at::ScalarType dtype, const char* more) {
  return std::string(function) + (dtype == at::kFloat ? "<float" : "<BFloat16") + more + ">";
}

std::vector<std::string> kernelFunctions() {
  std::vector<std::string> all{"standardNormal"};
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const char* flagged : {"groupNorm", "groupNormGradient", "addSummands"}) {
      for (const char* flag : {", false", ", true"}) all.push_back(nameFor(flagged, dtype, flag));
    }
    for (const char* to : {", float", ", BFloat16"}) all.push_back(nameFor("sumRows", dtype, to));
    for (const char* plain : {"attention", "attentionGradient", "upsample", "upsampleGradient"}) {
      all.push_back(nameFor(plain, dtype));
    }
  }
  return all;
}

std::string whyNoKernels(at::Device device) { return kernelsOf(device).failure; }

void useNoKernels(at::Device device, const std::string& why) { kernelsOf(device, Kernels{std::nullopt, why}); }

const Program* kernelsFor(at::Device device) {
  const std::optional<Program>& program = kernelsOf(device).program;
  return program ? &*program : nullptr;
}

const Program* kernelsFor(const at::Tensor& x) {
  if (!x.is_cuda() || (x.scalar_type() != at::kFloat && x.scalar_type() != at::kBFloat16)) return nullptr;
  return kernelsFor(x.device());
}

at::Tensor aligned(const at::Tensor& x) {
  return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0 ? x : x.clone();
}

bool fits(const at::Tensor& x, int64_t channels) {
  return x.numel() > 0 && x.numel() <= mostNumbers && channels % 4 == 0;
}

void keep(torch::autograd::AutogradContext* context, const Program* program) {
  context->saved_data["program"] = reinterpret_cast<int64_t>(program);
}

const Program& kept(torch::autograd::AutogradContext* context) {
  return *reinterpret_cast<const Program*>(context->saved_data["program"].toInt());
}

#else

std::string whyNoKernels(at::Device) { return "the addon was built without CUDA's headers"; }
void useNoKernels(at::Device, const std::string&) {}

#endif

}  // namespace continual::cuda
