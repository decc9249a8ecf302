// Our CUDA kernels without a GPU: their source compiled for the processor, each block's threads as fibers that take
// turns at every __syncthreads, beside libtorch's operators in float64. Prints a line for each case: its name and the
// largest error, relative to the largest number expected. Threads run in order, and once more in the opposite order:
// where results differ, or a thread ends while others wait, a barrier is missing, and the error is `inf`.
//
// With numbers as arguments, in a build for CUDA: what NVRTC makes of them for GPUs of these capabilities, e.g. 90 for
// 9.0: of what kind, and the names of its functions.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <ucontext.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cuda/group_norm.h"
#include "nn/cuda_group_norm.h"
#include "runtime/cuda_program.h"

// --- what CUDA's compiler knows by itself
// -----------------------------------------------------------------------------

namespace emulated {

struct Index {
  unsigned x, y;
};
Index threadIdx, blockIdx, blockDim;
float memory[1 << 16];  // shared among a block's threads

float asFloat(unsigned bits) {
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}
unsigned asBits(float x) {
  unsigned result;
  std::memcpy(&result, &x, sizeof result);
  return result;
}

/// A block's threads.
class Block {
 public:
  /// Whether all threads passed the same number of barriers.
  bool run(unsigned block, Index threadsOf, bool backwards, const std::function<void()>& kernel) {
    const unsigned threads = threadsOf.x * threadsOf.y;
    kernel_ = &kernel;
    fibers_.resize(threads);
    running_ = this;
    blockIdx = {block, 0};
    blockDim = threadsOf;
    for (Fiber& fiber : fibers_) {
      fiber.stack.resize(1 << 16);
      fiber.done = false;
      prepare(fiber);
    }
    for (size_t done = 0; done == 0;) {
      for (unsigned i = 0; i < threads; ++i) {
        const unsigned thread = backwards ? threads - 1 - i : i;
        threadIdx = {thread % threadsOf.x, thread / threadsOf.x};
        current_ = &fibers_[thread];
        swapcontext(&scheduler_, &current_->context);
        done += current_->done ? 1 : 0;
      }
      if (done != 0 && done != threads) return false;
    }
    return true;
  }

  static void wait() { swapcontext(&running_->current_->context, &running_->scheduler_); }

 private:
  struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool done;
  };

  [[gnu::noinline]] void prepare(Fiber& fiber) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = &scheduler_;
    makecontext(&fiber.context, start, 0);
  }

  static void start() {
    (*running_->kernel_)();
    running_->current_->done = true;
  }

  static inline Block* running_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
  std::vector<Fiber> fibers_;
  Fiber* current_ = nullptr;
  ucontext_t scheduler_{};
};

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(...)
#define __syncthreads() Block::wait()
#define __expf(x) std::exp(x)
#define __fdividef(x, y) ((x) / (y))
#define __uint_as_float(x) asFloat(x)
#define __float_as_uint(x) asBits(x)
#define rsqrtf(x) (1 / std::sqrt(x))
#include "kernels/cuda/group_norm.cu"

}  // namespace emulated

// ----------------------------------------------------------------------------------------------------------------------

namespace {

using continual::cuda::GroupNormPlan;
using Tensors = std::vector<at::Tensor>;

constexpr auto nhwc = at::MemoryFormat::ChannelsLast;
constexpr double eps = 1e-5;

template <class T>
T* dataOf(const at::Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

/// Runs a kernel on all blocks; false where a barrier is missing.
bool launch(int images, const GroupNormPlan& plan, int totals, bool backwards, const std::function<void()>& kernel) {
  if (plan.sharedMemory(totals) > 48 << 10) throw std::logic_error("more shared memory than every GPU gives");
  if (plan.threads() > continual::cuda::mostThreads) throw std::logic_error("too many threads");
  std::fill(std::begin(emulated::memory), std::end(emulated::memory), NAN);
  emulated::Block block;
  for (int i = 0; i < images * plan.slices; ++i) {
    if (!block.run(static_cast<unsigned>(i), {static_cast<unsigned>(plan.across), static_cast<unsigned>(plan.rows)},
                   backwards, kernel))
      return false;
  }
  // No thread went beyond the memory that is asked for.
  return std::isnan(emulated::memory[plan.sharedMemory(totals) / static_cast<int>(sizeof(float))]);
}

/// y, dx, dweight and dbias by our kernels; empty where a barrier is missing.
template <class T, bool silu>
Tensors byKernels(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& dy,
                  int64_t groups, bool backwards) {
  const auto number = [](int64_t n) { return static_cast<int>(n); };
  const auto planOf = [&](int tensors) {
    return continual::cuda::planGroupNorm(number(x.size(2) * x.size(3)), number(x.size(1)), number(groups),
                                          number(x.element_size()), tensors);
  };
  const GroupNormPlan plan = planOf(1), gradient = planOf(2);
  const auto shapeOf = [](const GroupNormPlan& p) {
    return emulated::Shape{p.shape.pixels, p.shape.channels, p.shape.groupSize, p.shape.slice};
  };
  const at::Tensor y = at::full_like(x, NAN), dx = at::full_like(x, NAN);
  const at::Tensor statistics = at::full({x.size(0), groups, 2}, NAN, at::kFloat);
  const at::Tensor parts = at::full({x.size(0), 2, x.size(1)}, NAN, at::kFloat);
  const bool whole =
      launch(number(x.size(0)), plan, 1, backwards,
             [&] {
               emulated::groupNorm<T, silu>(shapeOf(plan), static_cast<float>(eps), dataOf<T>(x), dataOf<T>(weight),
                                            dataOf<T>(bias), dataOf<float>(statistics), dataOf<T>(y));
             }) &&
      launch(number(x.size(0)), gradient, 2, backwards, [&] {
        emulated::groupNormGradient<T, silu>(shapeOf(gradient), dataOf<T>(x), dataOf<T>(weight), dataOf<T>(bias),
                                             dataOf<float>(statistics), dataOf<T>(dy), dataOf<T>(dx),
                                             dataOf<float>(parts));
      });
  if (!whole) return {};
  const at::Tensor sums = parts.sum(0);
  return {y, dx, sums[0], sums[1]};
}

template <class T, bool silu>
double errorOf(const Tensors& inputs, const at::Tensor& dy, int64_t groups) {
  const Tensors found = byKernels<T, silu>(inputs[0], inputs[1], inputs[2], dy, groups, false);
  const Tensors again = byKernels<T, silu>(inputs[0], inputs[1], inputs[2], dy, groups, true);
  if (found.empty() || again.empty()) return std::numeric_limits<double>::infinity();

  Tensors leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.to(at::kDouble).detach().requires_grad_(true));
  const at::Tensor normed = at::group_norm(leaves[0], groups, leaves[1], leaves[2], eps);
  Tensors expected{silu ? at::silu(normed) : normed};
  for (const at::Tensor& g : torch::autograd::grad({expected[0]}, leaves, {dy.to(at::kDouble)})) expected.push_back(g);
  double error = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    if (!at::equal(found[i], again[i])) return std::numeric_limits<double>::infinity();
    const double off = (found[i].to(at::kDouble) - expected[i]).abs().max().item<double>();
    const double relative = off / expected[i].abs().max().item<double>();
    if (!(relative <= error)) error = relative;  // so that a NaN stays one
  }
  return error;
}

}  // namespace

int main([[maybe_unused]] int count, [[maybe_unused]] char** arguments) {
#ifdef CONTINUAL_DIFFUSION_CUDA
  for (int i = 1; i < count; ++i) {
    using namespace continual::cuda;
    const Compiled compiled = compile(groupNormSource, groupNormFunctions(), std::atoi(arguments[i]));
    std::cout << arguments[i] << ' ' << (compiled.code.substr(1, 3) == "ELF" ? "cubin" : "PTX");
    for (const std::string& name : compiled.lowered) std::cout << ' ' << name;
    std::cout << std::endl;
  }
  if (count > 1) return 0;
#endif
  at::manual_seed(7);
  struct Case {
    int64_t images, channels, groups, height, width;
  };
  const std::vector<Case> cases{
      {2, 64, 32, 32, 32}, {1, 192, 32, 32, 32}, {2, 128, 32, 16, 16}, {1, 384, 32, 16, 16}, {2, 768, 32, 8, 8},
      {3, 512, 32, 4, 4},  {2, 1024, 32, 4, 4},  {2, 16, 8, 16, 16},   {3, 48, 8, 7, 5},     {2, 4, 1, 3, 3},
      {2, 20, 5, 1, 1},    {1, 24, 4, 65, 65},   {2, 96, 1, 9, 9},     {1, 12, 12, 6, 6},    {1, 8, 2, 90, 90},
  };
  for (const auto& [images, channels, groups, height, width] : cases) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const auto numbers = [&](at::IntArrayRef sizes, double mean) { return (at::randn(sizes) + mean).to(dtype); };
      const at::Tensor x = (numbers({images, channels, height, width}, 0) + numbers({images, channels, 1, 1}, 3))
                               .to(dtype)
                               .contiguous(nhwc);
      const at::Tensor dy = numbers(x.sizes(), 0.5).contiguous(nhwc);
      const Tensors inputs{x, numbers({channels}, 1), numbers({channels}, 0)};
      for (const bool silu : {false, true}) {
        const auto error = [&]<class T>() {
          return silu ? errorOf<T, true>(inputs, dy, groups) : errorOf<T, false>(inputs, dy, groups);
        };
        std::cout << "groupNorm" << (silu ? "+silu" : "") << ',' << dtype << ',' << images << 'x' << channels << 'x'
                  << height << 'x' << width << '/' << groups << ' '
                  << (dtype == at::kFloat ? error.template operator()<float>()
                                          : error.template operator()<emulated::BFloat16>())
                  << std::endl;
      }
    }
  }
}
