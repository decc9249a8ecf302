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

#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cuda/plans.h"
#include "nn/cuda/kernels.h"
#include "runtime/cuda_program.h"
#include "runtime/random.h"

// --- what CUDA's compiler knows by itself
// -----------------------------------------------------------------------------

namespace emulated {

struct Index {
  unsigned x, y;
};
Index threadIdx, blockIdx, blockDim;
alignas(16) float memory[1 << 16];  // shared among a block's threads

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
#define __align__(bytes)
#define __launch_bounds__(...)
#define __syncthreads() Block::wait()
#define __expf(x) std::exp(x)
#define __fdividef(x, y) ((x) / (y))
#define __uint_as_float(x) asFloat(x)
#define __float_as_uint(x) asBits(x)
#define rsqrtf(x) (1 / std::sqrt(x))
// clang-format off: each needs the first
#include "kernels/cuda/vectors.cuh"
#include "kernels/cuda/group_norm.cu"
#include "kernels/cuda/sums.cu"
#include "kernels/cuda/attention.cu"
#include "kernels/cuda/upsample.cu"
#include "kernels/cuda/random.cu"
// clang-format on

}  // namespace emulated

// ----------------------------------------------------------------------------------------------------------------------

namespace {

using namespace continual::cuda;
using Tensors = std::vector<at::Tensor>;

constexpr auto nhwc = at::MemoryFormat::ChannelsLast;
constexpr double eps = 1e-5;

template <class T>
T* dataOf(const at::Tensor& x) {
  return x.defined() ? static_cast<T*>(x.mutable_data_ptr()) : nullptr;
}

int number(int64_t n) { return static_cast<int>(n); }

/// Runs kernels on all their blocks, and says whether every barrier was there.
struct Launcher {
  bool backwards, whole = true;

  void operator()(int blocks, int threadsX, int threadsY, int sharedMemory, const std::function<void()>& kernel) {
    if (sharedMemory > 48 << 10) throw std::logic_error("more shared memory than every GPU gives");
    if (threadsX * threadsY > continual::cuda::mostThreads) throw std::logic_error("too many threads");
    std::fill(std::begin(emulated::memory), std::end(emulated::memory), NAN);
    emulated::Block block;
    for (int i = 0; i < blocks && whole; ++i) {
      whole = block.run(static_cast<unsigned>(i), {static_cast<unsigned>(threadsX), static_cast<unsigned>(threadsY)},
                        backwards, kernel);
    }
    // No thread went beyond the memory that is asked for.
    whole = whole && std::isnan(emulated::memory[sharedMemory / static_cast<int>(sizeof(float))]);
  }
};

/// What a kernel gives: its value, and the gradients of all inputs where it has some.
using Kernel = std::function<Tensors(Launcher& launch)>;
using Composed = std::function<at::Tensor(const Tensors&)>;

void compare(const std::string& name, const Tensors& inputs, const at::Tensor& dy, const Kernel& kernel,
             const Composed& composed) {
  Launcher forwards{false}, backwards{true};
  const Tensors found = kernel(forwards), again = kernel(backwards);
  Tensors leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.to(at::kDouble).detach().requires_grad_(true));
  Tensors expected{composed(leaves)};
  if (found.size() > 1) {
    for (const at::Tensor& g : torch::autograd::grad({expected[0]}, leaves, {dy.to(at::kDouble)}))
      expected.push_back(g);
  }
  double error = forwards.whole && backwards.whole ? 0 : std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < found.size(); ++i) {
    if (!at::equal(found[i], again[i])) error = std::numeric_limits<double>::infinity();
    if (expected[i].numel() == 0) continue;  // there is no second map
    const double off = (found[i].to(at::kDouble) - expected[i]).abs().max().item<double>();
    const double relative = off / expected[i].abs().max().item<double>();
    if (!(relative <= error)) error = relative;  // so that a NaN stays one
  }
  std::cout << name << ',' << inputs[0].scalar_type() << ',';
  for (const int64_t size : inputs[0].sizes()) std::cout << size << 'x';
  std::cout << ' ' << error << std::endl;
}

at::Tensor numbers(at::ScalarType dtype, at::IntArrayRef sizes, double mean) {
  const at::Tensor all = (at::randn(sizes) + mean).to(dtype);
  return sizes.size() == 4 ? all.contiguous(nhwc) : all;
}

at::Tensor unwritten(const at::Tensor& like) { return at::full_like(like, NAN); }
at::Tensor unwritten(at::IntArrayRef sizes) { return at::full(sizes, NAN, at::kFloat); }

/// Group norm; with SiLU, of two feature maps and all that may be added to them.
template <class T, bool silu>
void groupNorm(int64_t images, int64_t channels, int64_t groups, int64_t height, int64_t width, at::ScalarType dtype) {
  const at::Tensor x =
      numbers(dtype, {images, channels, height, width}, 0) + numbers(dtype, {images, channels, 1, 1}, 3);
  const at::Tensor dy = numbers(dtype, x.sizes(), 0.5), weight = numbers(dtype, {channels}, 1);
  const at::Tensor bias = numbers(dtype, {channels}, 0);
  const int64_t split = silu && channels >= 8 ? channels / 8 * 4 : channels;
  Tensors inputs{x.narrow(1, 0, split).contiguous(nhwc), weight, bias};
  at::Tensor second, plus, perImage;
  if (silu) {
    inputs.push_back(second = x.narrow(1, split, channels - split).contiguous(nhwc));
    inputs.push_back(plus = numbers(dtype, {channels}, 1));
    inputs.push_back(perImage = numbers(dtype, {images, channels}, 1));
  }
  const auto planOf = [&](int tensors) {
    return planGroupNorm(number(height * width), number(channels), number(groups), number(x.element_size()), tensors);
  };
  const emulated::Maps<T> maps{dataOf<T>(inputs[0]), dataOf<T>(second), dataOf<T>(plus), dataOf<T>(perImage),
                               number(split)};
  const Kernel kernel = [&](Launcher& launch) {
    const at::Tensor y = unwritten(x), da = unwritten(inputs[0]), db = silu ? unwritten(second) : at::Tensor();
    const at::Tensor dPerImage = silu ? unwritten(perImage) : at::Tensor();
    const at::Tensor statistics = unwritten({images, groups, 2}), parts = unwritten({images, 2, channels});
    const auto launchBy = [&](const GroupNormPlan& plan, int sums, const std::function<void(emulated::Shape)>& call) {
      const emulated::Shape shape{plan.shape.pixels, plan.shape.channels, plan.shape.groupSize, plan.shape.slice};
      launch(number(images) * plan.slices, plan.across, plan.rows, plan.sharedMemory(sums), [&] { call(shape); });
    };
    launchBy(planOf(1), 1, [&](emulated::Shape shape) {
      emulated::groupNorm<T, silu>(shape, maps, static_cast<float>(eps), dataOf<T>(weight), dataOf<T>(bias),
                                   dataOf<float>(statistics), dataOf<T>(y));
    });
    launchBy(planOf(2), 2, [&](emulated::Shape shape) {
      emulated::groupNormGradient<T, silu>(shape, maps, dataOf<T>(weight), dataOf<T>(bias), dataOf<float>(statistics),
                                           dataOf<T>(dy), dataOf<T>(da), dataOf<T>(db), dataOf<float>(parts),
                                           dataOf<T>(dPerImage));
    });
    const at::Tensor sums = parts.sum(0);
    Tensors found{y, da, sums[0], sums[1]};
    // A norm of single channels takes away what is added to them: there is nothing to compare with but rounding.
    if (silu && channels != groups) found.insert(found.end(), {db, dPerImage.sum(0), dPerImage});
    return found;
  };
  compare("groupNorm/" + std::to_string(groups) + (silu ? "+silu" : ""), inputs, dy, kernel, [&](const Tensors& t) {
    const at::Tensor in =
        silu ? at::cat({t[0], t[3]}, 1) + t[4].view({-1, 1, 1}) + t[5].unsqueeze(2).unsqueeze(3) : t[0];
    const at::Tensor normed = at::group_norm(in, groups, t[1], t[2], eps);
    return silu ? at::silu(normed) : normed;
  });
}

template <class T, bool hasImage>
void addSummands(int64_t images, int64_t channels, int64_t side, at::ScalarType dtype) {
  const at::Tensor product = numbers(dtype, {images, channels, side, side}, 0), bias = numbers(dtype, {channels}, 1);
  const at::Tensor image = numbers(dtype, product.sizes(), 0);
  const Kernel kernel = [&](Launcher& launch) -> Tensors {
    const at::Tensor y = product.clone();
    const int vectors = number(y.numel() / vectorWidth), each = emulated::addedAtOnce * 256;
    launch((vectors + each - 1) / each, 256, 1, 0, [&] {
      emulated::addSummands<T, hasImage>(vectors, number(channels), dataOf<T>(bias), dataOf<T>(image), dataOf<T>(y));
    });
    return {y};
  };
  compare(hasImage ? "addSummands+image" : "addSummands", {product, bias, image}, {}, kernel, [](const Tensors& t) {
    const at::Tensor sum = t[0] + t[1].view({-1, 1, 1});
    return hasImage ? sum + t[2] : sum;
  });
}

/// In two passes, as `sumRows` of nn/cuda does.
template <class T>
void sumRows(int64_t rows, int64_t channels, at::ScalarType dtype) {
  const at::Tensor x = numbers(dtype, {rows, channels}, 0.5);
  const Kernel kernel = [&](Launcher& launch) -> Tensors {
    const auto pass = [&]<class From, class To>(const at::Tensor& from, int most, at::ScalarType to, From*, To*) {
      const SumPlan plan = planSum(number(from.size(0)), number(channels), most);
      const at::Tensor sums = unwritten({plan.parts, channels}).to(to);
      launch(plan.slices * plan.parts, plan.across, plan.down, plan.sharedMemory(), [&] {
        emulated::sumRows<From, To>(number(from.size(0)), number(channels), plan.parts, dataOf<From>(from),
                                    dataOf<To>(sums));
      });
      return sums;
    };
    float* const floats = nullptr;
    T* const given = nullptr;
    return {pass(pass(x, mostSums, at::kFloat, given, floats), 1, dtype, floats, given).view({-1})};
  };
  compare("sumRows", {x}, {}, kernel, [](const Tensors& t) { return t[0].sum(0); });
}

template <class T>
void attention(int64_t images, int64_t tokens, int64_t heads, at::ScalarType dtype) {
  const int64_t channels = 8 * heads;
  Tensors inputs;
  for (int i = 0; i < 3; ++i) inputs.push_back(numbers(dtype, {images, tokens, channels}, 0) * 2);
  const at::Tensor &q = inputs[0], &k = inputs[1], &v = inputs[2], dy = numbers(dtype, q.sizes(), 0);
  const AttentionPlan plan = planAttention(number(tokens), number(channels));
  const emulated::Heads shape{plan.heads.tokens, plan.heads.channels, plan.heads.each, plan.heads.scale};
  const Kernel kernel = [&](Launcher& launch) -> Tensors {
    const at::Tensor y = unwritten(q), dq = unwritten(q), dk = unwritten(q), dv = unwritten(q);
    const at::Tensor statistics = unwritten({images, heads, tokens, 2});
    const int blocks = number(images) * plan.blocks;
    launch(blocks, plan.threads, 1, plan.sharedMemory(16), [&] {
      emulated::attention<T>(shape, dataOf<T>(q), dataOf<T>(k), dataOf<T>(v), dataOf<float>(statistics), dataOf<T>(y));
    });
    launch(blocks, plan.threads, 1, plan.sharedMemory(35), [&] {
      emulated::attentionGradient<T>(shape, dataOf<T>(q), dataOf<T>(k), dataOf<T>(v), dataOf<T>(y),
                                     dataOf<float>(statistics), dataOf<T>(dy), dataOf<T>(dq), dataOf<T>(dk),
                                     dataOf<T>(dv));
    });
    return {y, dq, dk, dv};
  };
  compare("attention", inputs, dy, kernel, [&](const Tensors& t) {
    const auto split = [&](const at::Tensor& x) { return x.view({images, tokens, heads, 8}).transpose(1, 2); };
    return at::scaled_dot_product_attention(split(t[0]), split(t[1]), split(t[2])).transpose(1, 2).flatten(2);
  });
}

template <class T>
void upsample(int64_t images, int64_t channels, int64_t height, int64_t width, at::ScalarType dtype) {
  const at::Tensor x = numbers(dtype, {images, channels, height, width}, 0);
  const at::Tensor dy = numbers(dtype, {images, channels, 2 * height, 2 * width}, 0);
  const Kernel kernel = [&](Launcher& launch) -> Tensors {
    const at::Tensor y = unwritten(dy), dx = unwritten(x);
    const int vectors = number(x.numel() / vectorWidth), perPixel = number(channels / vectorWidth);
    const int rowVectors = perPixel * number(width), blocks = (vectors + 255) / 256;
    launch(blocks, 256, 1, 0,
           [&] { emulated::upsample<T>(vectors, rowVectors, perPixel, dataOf<T>(x), dataOf<T>(y)); });
    launch(blocks, 256, 1, 0,
           [&] { emulated::upsampleGradient<T>(vectors, rowVectors, perPixel, dataOf<T>(dy), dataOf<T>(dx)); });
    return {y, dx};
  };
  compare("upsample", {x}, dy, kernel,
          [&](const Tensors& t) { return at::upsample_nearest2d(t[0], {2 * height, 2 * width}); });
}

void standardNormal(int64_t count) {
  const uint64_t seed = 0x123456789ABCDEFULL;
  continual::Random random(seed, continual::Purpose::training, 77);
  random.normal({5});  // so that it does not begin at 0
  const at::Tensor expected = random.normal({count});
  const Kernel kernel = [&](Launcher& launch) -> Tensors {
    const int blocks = number((count + 3) / 4);
    const at::Tensor out = unwritten({4 * blocks});
    launch((blocks + 255) / 256, 256, 1, 0,
           [&] { emulated::standardNormal(seed, random.stream(), 2, blocks, dataOf<float>(out)); });
    return {out.narrow(0, 0, count)};
  };
  compare("standardNormal", {expected}, {}, kernel, [](const Tensors& t) { return t[0]; });
}

}  // namespace

int main([[maybe_unused]] int count, [[maybe_unused]] char** arguments) {
#ifdef CONTINUAL_DIFFUSION_CUDA
  for (int i = 1; i < count; ++i) {
    const Compiled compiled = compile(kernelSource, kernelFunctions(), std::atoi(arguments[i]));
    std::cout << arguments[i] << ' ' << (compiled.code.substr(1, 3) == "ELF" ? "cubin" : "PTX");
    for (const std::string& name : compiled.lowered) std::cout << ' ' << name;
    std::cout << std::endl;
  }
  if (count > 1) return 0;
#endif
  at::manual_seed(7);
  const auto all = [&]<class T>(at::ScalarType dtype, T*) {
    const std::vector<std::array<int64_t, 5>> norms{
        {2, 64, 32, 32, 32}, {1, 192, 32, 32, 32}, {2, 128, 32, 16, 16}, {1, 384, 32, 16, 16}, {2, 768, 32, 8, 8},
        {3, 512, 32, 4, 4},  {2, 1024, 32, 4, 4},  {2, 16, 8, 16, 16},   {3, 48, 8, 7, 5},     {2, 4, 1, 3, 3},
        {2, 20, 5, 1, 1},    {1, 24, 4, 65, 65},   {2, 96, 1, 9, 9},     {1, 12, 12, 6, 6},    {1, 8, 2, 90, 90},
    };
    for (const auto& [images, channels, groups, height, width] : norms) {
      groupNorm<T, false>(images, channels, groups, height, width, dtype);
      groupNorm<T, true>(images, channels, groups, height, width, dtype);
    }
    for (const auto& [images, channels, side] :
         std::vector<std::array<int64_t, 3>>{{2, 64, 32}, {3, 12, 5}, {1, 4, 1}}) {
      addSummands<T, false>(images, channels, side, dtype);
      addSummands<T, true>(images, channels, side, dtype);
    }
    for (const auto& [rows, channels] :
         std::vector<std::array<int64_t, 2>>{{1, 4}, {3, 12}, {256, 512}, {5000, 64}, {700, 192}, {40, 2048}}) {
      sumRows<T>(rows, channels, dtype);
    }
    for (const auto& [images, tokens, heads] : std::vector<std::array<int64_t, 3>>{
             {2, 16, 64}, {2, 64, 32}, {1, 256, 4}, {3, 49, 3}, {2, 1, 1}, {1, 350, 2}, {5, 3, 10}}) {
      attention<T>(images, tokens, heads, dtype);
    }
    upsample<T>(2, 64, 16, 16, dtype);
    upsample<T>(3, 12, 5, 7, dtype);
  };
  standardNormal(4001);
  all(at::kFloat, static_cast<float*>(nullptr));
  all(at::kBFloat16, static_cast<emulated::BFloat16*>(nullptr));
}
