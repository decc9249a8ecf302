#include "nn/cuda_group_norm.h"

#ifdef CONTINUAL_DIFFUSION_CUDA
#include <ATen/core/grad_mode.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>
#include <map>
#include <mutex>
#include <optional>

#include "kernels/cuda/group_norm.h"
#include "nn/own_kernels.h"
#include "runtime/cuda_program.h"
#include "runtime/failure.h"
#endif

namespace continual::cuda {

#ifdef CONTINUAL_DIFFUSION_CUDA

const char* const groupNormSource =
#include "group_norm.cu.inc"
    ;

namespace {

std::string nameOf(const char* function, at::ScalarType dtype, bool silu) {
  return std::string(function) + (dtype == at::kFloat ? "<float, " : "<BFloat16, ") + (silu ? "true>" : "false>");
}

GroupNormPlan planFor(const at::Tensor& x, int64_t groups, int tensors) {
  return planGroupNorm(static_cast<int>(x.size(2) * x.size(3)), static_cast<int>(x.size(1)), static_cast<int>(groups),
                       static_cast<int>(x.element_size()), tensors);
}

Program::Grid gridOf(const GroupNormPlan& plan, const at::Tensor& x, int totals) {
  return {static_cast<int>(x.size(0)) * plan.slices, plan.across, plan.rows, plan.sharedMemory(totals)};
}

// As it can be read vector by vector.
at::Tensor aligned(const at::Tensor& x) {
  return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0 ? x : x.clone();
}

at::Tensor answer(const Program& program, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                  double eps, bool silu, const at::Tensor& statistics) {
  const c10::cuda::CUDAGuard device(input.device());
  const at::Tensor x = aligned(input);
  const GroupNormPlan plan = planFor(x, statistics.size(1), 1);
  const at::Tensor y = at::empty_like(x, x.options(), nhwc);
  program.launch(nameOf("groupNorm", x.scalar_type(), silu), gridOf(plan, x, 1), plan.shape, static_cast<float>(eps),
                 x.const_data_ptr(), weight.const_data_ptr(), bias.const_data_ptr(), statistics.mutable_data_ptr(),
                 y.mutable_data_ptr());
  return y;
}

std::pair<at::Tensor, at::Tensor> gradient(const Program& program, const at::Tensor& input, const at::Tensor& weight,
                                           const at::Tensor& bias, bool silu, const at::Tensor& statistics,
                                           const at::Tensor& given) {
  const c10::cuda::CUDAGuard device(input.device());
  const at::Tensor x = aligned(input), dy = aligned(given);
  const GroupNormPlan plan = planFor(x, statistics.size(1), 2);
  const at::Tensor dx = at::empty_like(x, x.options(), nhwc);
  const at::Tensor parts = at::empty({x.size(0), 2, x.size(1)}, statistics.options());
  program.launch(nameOf("groupNormGradient", x.scalar_type(), silu), gridOf(plan, x, 2), plan.shape, x.const_data_ptr(),
                 weight.const_data_ptr(), bias.const_data_ptr(), statistics.const_data_ptr(), dy.const_data_ptr(),
                 dx.mutable_data_ptr(), parts.mutable_data_ptr());
  return {dx, parts.sum(0)};
}

/// Throws unless all kernels give what libtorch's operators give in float32 for the same numbers: in bfloat16 those
/// round between group norm and SiLU as well, which sums over images show.
void tryKernels(const Program& program, at::Device device) {
  // More pixels than a thread keeps vectors, and groups that vectors don't end with.
  constexpr int64_t images = 2, channels = 24, groups = 4, side = 65;
  const auto numbers = [&](at::IntArrayRef sizes, double step) {
    const int64_t count = c10::multiply_integers(sizes);
    return at::sin(at::arange(count, at::TensorOptions(device).dtype(at::kDouble)) * step).view(sizes);
  };
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const bool silu : {false, true}) {
      const at::Tensor x = numbers({images, channels, side, side}, 0.7).to(dtype).contiguous(nhwc);
      const at::Tensor dy = numbers(x.sizes(), 1.3).to(dtype).contiguous(nhwc);
      const at::Tensor weight = numbers({channels}, 0.9).to(dtype), bias = numbers({channels}, 1.1).to(dtype);
      const at::Tensor statistics = at::empty({images, groups, 2}, x.options().dtype(at::kFloat));
      const at::Tensor y = answer(program, x, weight, bias, 1e-5, silu, statistics);
      const auto [dx, sums] = gradient(program, x, weight, bias, silu, statistics, dy);

      const at::AutoGradMode enabled(true);
      std::vector<at::Tensor> leaves;
      for (const at::Tensor& t : {x, weight, bias}) leaves.push_back(t.to(at::kFloat, false, true).requires_grad_());
      const at::Tensor normed = at::group_norm(leaves[0], groups, leaves[1], leaves[2], 1e-5);
      const at::Tensor expected = silu ? at::silu(normed) : normed;
      const auto gradients = torch::autograd::grad({expected}, leaves, {dy.to(at::kFloat)});
      const auto compare = [&](const at::Tensor& ours, const at::Tensor& theirs, double most) {
        const auto off = ((ours.to(at::kFloat) - theirs).abs().max() / theirs.abs().max()).item<double>();
        TORCH_CHECK(off < most, "our group norm, of ", dtype,
                    ", is not that of libtorch: of the largest number they are ", off, " apart");
      };
      const double rounding = dtype == at::kFloat ? 1e-4 : 0.01;
      compare(y, expected.detach(), rounding);
      compare(dx, gradients[0], rounding);
      compare(sums.select(0, 0), gradients[1], 1e-3);
      compare(sums.select(0, 1), gradients[2], 1e-3);
    }
  }
}

struct Kernels {
  std::optional<Program> program;
  std::string failure;
};

Kernels compiledFor(at::Device device) {
  try {
    const c10::cuda::CUDAGuard guard(device);
    Kernels kernels{Program(groupNormSource, groupNormFunctions()), ""};
    tryKernels(*kernels.program, device);
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

std::vector<std::string> groupNormFunctions() {
  std::vector<std::string> all;
  for (const char* function : {"groupNorm", "groupNormGradient"}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const bool silu : {false, true}) all.push_back(nameOf(function, dtype, silu));
    }
  }
  return all;
}

std::string whyNoKernels(at::Device device) { return kernelsOf(device).failure; }

void useNoKernels(at::Device device, const std::string& why) { kernelsOf(device, Kernels{std::nullopt, why}); }

bool suitsKernels(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t groups) {
  constexpr int64_t most = std::numeric_limits<int>::max();
  if (!x.is_cuda() || (x.scalar_type() != at::kFloat && x.scalar_type() != at::kBFloat16)) return false;
  for (const at::Tensor& t : {weight, bias}) {
    if (t.scalar_type() != x.scalar_type() || !t.is_contiguous()) return false;
  }
  if (x.numel() == 0 || x.numel() / x.size(0) > most || 2 * x.size(0) * x.size(1) > most) return false;
  const GroupNormPlan plan = planFor(x, groups, 2);
  return plan.possible() && plan.fills(static_cast<int>(x.size(0))) && kernelsOf(x.device()).program;
}

at::Tensor groupNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu,
                     const at::Tensor& statistics) {
  return answer(*kernelsOf(x.device()).program, x, weight, bias, eps, silu, statistics);
}

std::pair<at::Tensor, at::Tensor> groupNormGradient(const at::Tensor& x, const at::Tensor& weight,
                                                    const at::Tensor& bias, bool silu, const at::Tensor& statistics,
                                                    const at::Tensor& dy) {
  return gradient(*kernelsOf(x.device()).program, x, weight, bias, silu, statistics, dy);
}

#else

namespace {

[[noreturn]] void unavailable() { throw std::logic_error("this build has no CUDA kernels"); }

}  // namespace

std::string whyNoKernels(at::Device) { return "the addon was built without CUDA's headers"; }
void useNoKernels(at::Device, const std::string&) {}
bool suitsKernels(const at::Tensor&, const at::Tensor&, const at::Tensor&, int64_t) { return false; }
at::Tensor groupNorm(const at::Tensor&, const at::Tensor&, const at::Tensor&, double, bool, const at::Tensor&) {
  unavailable();
}
std::pair<at::Tensor, at::Tensor> groupNormGradient(const at::Tensor&, const at::Tensor&, const at::Tensor&, bool,
                                                    const at::Tensor&, const at::Tensor&) {
  unavailable();
}

#endif

}  // namespace continual::cuda
