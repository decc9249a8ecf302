#include "nn/functions.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <type_traits>

#include "kernels/kernels.h"

namespace continual {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

const Kernels* own() {
  static const Kernels* const best = kernels(at::get_cpu_capability().c_str());
  return best;
}

constexpr auto nhwc = at::MemoryFormat::ChannelsLast;
constexpr int64_t lanes = 16;

at::Tensor asNhwc(const at::Tensor& x) { return x.contiguous(nhwc); }

const float* dataOrNull(const at::Tensor& x) { return x.defined() ? x.const_data_ptr<float>() : nullptr; }

// Room for one kernel at a time, kept by each thread: giving pages back and taking them again takes longer than some
// kernels do.
float* scratch(int64_t size) {
  thread_local at::Tensor kept;
  if (!kept.defined() || kept.numel() < size) kept = at::empty({size}, at::kFloat);
  return kept.mutable_data_ptr<float>();
}

// The images of a batch between the calling thread's share of libtorch's threads.
void overImages(int64_t images, const std::function<void(int64_t first, int64_t count)>& work) {
  at::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) { work(begin, end - begin); });
}

template <class T>
const T* dataOf(const at::Tensor& x) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return reinterpret_cast<const T*>(x.const_data_ptr<at::BFloat16>());
  } else {
    return x.const_data_ptr<T>();
  }
}
template <class T>
T* mutableDataOf(const at::Tensor& x) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return reinterpret_cast<T*>(x.mutable_data_ptr<at::BFloat16>());
  } else {
    return x.mutable_data_ptr<T>();
  }
}

// A function with a gradient of its own. Where none is wanted, `forward` alone, with no context to keep things in.
template <class F, class... Inputs>
at::Tensor applied(const Inputs&... inputs) {
  return c10::GradMode::is_enabled() ? F::apply(inputs...) : F::forward(nullptr, inputs...);
}

// --- convolution ---

ConvolutionShape shapeOf(const at::Tensor& x, const at::Tensor& weight) {
  return {x.size(2), x.size(3), weight.size(1), weight.size(0)};
}

// Whatever the number of images, so that an image's numbers don't depend on it; of one image of few pixels oneDNN would
// be faster, as the weights are transformed for each call.
bool ownConvolution(const at::Tensor& x, const at::Tensor& weight, int64_t stride) {
  return own() != nullptr && x.device().is_cpu() && x.scalar_type() == at::kFloat && weight.size(2) == 3 &&
         stride == 1 && weight.size(0) % lanes == 0 && weight.size(1) % lanes == 0;
}

float* scratchFor(const ConvolutionShape& shape, int64_t images) { return scratch(own()->scratch(shape, images)); }

class Convolution : public Function<Convolution> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& weight,
                            const at::Tensor& bias, const std::optional<at::Tensor>& perImage,
                            const std::optional<at::Tensor>& image) {
    const at::Tensor x = asNhwc(input), w = asNhwc(weight);
    const at::Tensor same = perImage ? perImage->contiguous() : at::Tensor();
    const at::Tensor plus = image ? asNhwc(*image) : at::Tensor();
    const ConvolutionShape shape = shapeOf(x, w);
    const at::Tensor y = at::empty({x.size(0), shape.out, shape.height, shape.width}, x.options(), nhwc);
    const int64_t from = x.stride(0), to = y.stride(0);
    overImages(x.size(0), [&](int64_t first, int64_t count) {
      const auto at = [first](const float* p, int64_t step) { return p == nullptr ? p : p + first * step; };
      own()->convolution(shape, count, x.const_data_ptr<float>() + first * from, w.const_data_ptr<float>(),
                         {dataOrNull(bias), at(dataOrNull(same), shape.out), at(dataOrNull(plus), to)},
                         y.mutable_data_ptr<float>() + first * to, scratchFor(shape, count));
    });
    if (context == nullptr) return y;
    context->save_for_backward({x, w});
    context->saved_data["perImage"] = perImage.has_value();
    context->saved_data["image"] = image.has_value();
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &w = saved[1];
    const at::Tensor dy = asNhwc(gradients[0]);
    const ConvolutionShape shape = shapeOf(x, w);
    at::Tensor dx;
    if (context->needs_input_grad(0)) {
      dx = at::empty_like(x, x.options(), nhwc);
      const int64_t from = dy.stride(0), to = dx.stride(0);
      overImages(x.size(0), [&](int64_t first, int64_t count) {
        own()->convolutionInput(shape, count, dy.const_data_ptr<float>() + first * from, w.const_data_ptr<float>(),
                                dx.mutable_data_ptr<float>() + first * to, scratchFor(shape, count));
      });
    }
    // A sum for each thread's share of the images, added in their order.
    const int64_t images = x.size(0), parts = std::min<int64_t>(images, at::get_num_threads());
    std::vector<at::Tensor> sums(static_cast<size_t>(parts));
    overImages(parts, [&](int64_t begin, int64_t count) {
      for (int64_t part = begin; part < begin + count; ++part) {
        const int64_t first = images * part / parts, some = images * (part + 1) / parts - first;
        at::Tensor& sum = sums[static_cast<size_t>(part)];
        sum = at::empty_like(w, w.options(), nhwc);
        own()->convolutionWeight(shape, some, x.const_data_ptr<float>() + first * x.stride(0),
                                 dy.const_data_ptr<float>() + first * dy.stride(0), sum.mutable_data_ptr<float>(),
                                 scratchFor(shape, some));
      }
    });
    const at::Tensor& dw = sums[0];
    for (int64_t part = 1; part < parts; ++part) dw.add_(sums[static_cast<size_t>(part)]);
    const at::Tensor perImage = dy.sum({2, 3});
    return {dx, dw, perImage.sum(0), context->saved_data["perImage"].toBool() ? perImage : at::Tensor(),
            context->saved_data["image"].toBool() ? dy : at::Tensor()};
  }
};

// --- group norm ---

bool ownGroupNorm(const at::Tensor& x) {
  return own() != nullptr && x.device().is_cpu() && x.size(1) % lanes == 0 && x.size(1) <= 4096 &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

class GroupNormFunction : public Function<GroupNormFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& weight,
                            const at::Tensor& bias, int64_t groups, double eps, bool silu) {
    const at::Tensor x = asNhwc(input);
    const GroupNormShape shape{x.size(2) * x.size(3), x.size(1), groups, static_cast<float>(eps), silu};
    const at::Tensor y = at::empty_like(x, x.options(), nhwc);
    const at::Tensor statistics = at::empty({x.size(0), groups, 2}, x.options().dtype(at::kFloat));
    const int64_t step = x.stride(0);
    const auto run = [&]<class T>(const auto& kernel) {
      overImages(x.size(0), [&](int64_t first, int64_t count) {
        kernel(shape, count, dataOf<T>(x) + first * step, dataOf<T>(weight), dataOf<T>(bias),
               statistics.mutable_data_ptr<float>() + first * groups * 2, mutableDataOf<T>(y) + first * step);
      });
    };
    if (x.scalar_type() == at::kFloat) {
      run.operator()<float>(own()->groupNorm);
    } else {
      run.operator()<BFloat16>(own()->groupNormBf16);
    }
    if (context == nullptr) return y;
    context->save_for_backward({x, weight, bias, statistics});
    context->saved_data["silu"] = silu;
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], &statistics = saved[3];
    const at::Tensor dy = asNhwc(gradients[0]);
    const GroupNormShape shape{x.size(2) * x.size(3), x.size(1), statistics.size(1), /*eps=*/0,  // in the statistics
                               context->saved_data["silu"].toBool()};
    const at::Tensor dx = at::empty_like(x, x.options(), nhwc);
    const at::Tensor sums = at::empty({2, shape.channels}, statistics.options());
    float* const dweight = sums.mutable_data_ptr<float>();
    const auto run = [&]<class T>(const auto& kernel) {
      kernel(shape, x.size(0), dataOf<T>(x), dataOf<T>(weight), dataOf<T>(bias), statistics.const_data_ptr<float>(),
             dataOf<T>(dy), mutableDataOf<T>(dx), dweight, dweight + shape.channels);
    };
    if (x.scalar_type() == at::kFloat) {
      run.operator()<float>(own()->groupNormGradient);
    } else {
      run.operator()<BFloat16>(own()->groupNormGradientBf16);
    }
    const at::Tensor typed = sums.to(x.scalar_type());
    return {dx, typed.select(0, 0), typed.select(0, 1), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// --- attention ---

constexpr int64_t headDim = 8;

bool ownAttention(const at::Tensor& q, int64_t heads) {
  return own() != nullptr && q.device().is_cpu() && q.size(2) == heads * headDim && q.size(2) % lanes == 0 &&
         (q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16);
}

double scoreScale(int64_t channels) { return 1.0 / std::sqrt(static_cast<double>(channels)); }

class Attention : public Function<Attention> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value) {
    const at::Tensor q = query.contiguous(), k = key.contiguous(), v = value.contiguous();
    const AttentionShape shape = shapeOf(q);
    const int64_t step = q.stride(0), blocks = (shape.tokens + lanes - 1) / lanes;
    const at::Tensor y = at::empty_like(q);
    const at::Tensor statistics =
        at::empty({q.size(0), shape.channels / headDim, blocks, 2, lanes}, q.options().dtype(at::kFloat));
    const auto run = [&]<class T>(const auto& kernel) {
      overImages(q.size(0), [&](int64_t first, int64_t count) {
        const int64_t at = first * step;
        kernel(shape, count, dataOf<T>(q) + at, dataOf<T>(k) + at, dataOf<T>(v) + at,
               statistics.mutable_data_ptr<float>() + first * statistics.stride(0), mutableDataOf<T>(y) + at,
               scratch(own()->attentionScratch(shape)));
      });
    };
    if (q.scalar_type() == at::kFloat) {
      run.operator()<float>(own()->attention);
    } else {
      run.operator()<BFloat16>(own()->attentionBf16);
    }
    if (context == nullptr) return y;
    context->save_for_backward({q, k, v, y, statistics});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &y = saved[3], &statistics = saved[4];
    const at::Tensor dy = gradients[0].contiguous();
    const AttentionShape shape = shapeOf(q);
    const int64_t step = q.stride(0);
    const at::Tensor dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
    const auto run = [&]<class T>(const auto& kernel) {
      overImages(q.size(0), [&](int64_t first, int64_t count) {
        const auto from = [at = first * step](const at::Tensor& t) { return dataOf<T>(t) + at; };
        const auto to = [at = first * step](const at::Tensor& t) { return mutableDataOf<T>(t) + at; };
        kernel(shape, count, from(q), from(k), from(v), from(y),
               statistics.const_data_ptr<float>() + first * statistics.stride(0), from(dy), to(dq), to(dk), to(dv),
               scratch(own()->attentionScratch(shape)));
      });
    };
    if (q.scalar_type() == at::kFloat) {
      run.operator()<float>(own()->attentionGradient);
    } else {
      run.operator()<BFloat16>(own()->attentionGradientBf16);
    }
    return {dq, dk, dv};
  }

 private:
  static AttentionShape shapeOf(const at::Tensor& q) {
    return {q.size(1), q.size(2), static_cast<float>(scoreScale(headDim))};
  }
};

}  // namespace

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride,
                       const Summands& plus) {
  if (ownConvolution(x, weight, stride)) {
    const auto given = [](const at::Tensor& t) { return t.defined() ? std::optional(t) : std::nullopt; };
    return applied<Convolution>(x, weight, bias, given(plus.perImage), given(plus.image));
  }
  at::Tensor y;
  if (weight.size(2) == 1 && stride == 1 && x.device().is_cpu()) {  // a matrix product, which oneDNN is slower at
    y = at::linear(x.permute({0, 2, 3, 1}), weight.flatten(1), bias).permute({0, 3, 1, 2});
  } else {
    const int64_t padding = weight.size(2) / 2;
    y = at::conv2d(x, weight, bias, {stride, stride}, {padding, padding});
  }
  if (plus.perImage.defined()) y = y + plus.perImage.unsqueeze(-1).unsqueeze(-1);
  return plus.image.defined() ? plus.image + y : y;
}

at::Tensor groupNorm(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps,
                     bool silu) {
  if (ownGroupNorm(x)) return applied<GroupNormFunction>(x, weight, bias, groups, eps, silu);
  const at::Tensor normed = at::group_norm(x, groups, weight, bias, eps);
  return silu ? at::silu(normed) : normed;
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
  if (ownAttention(q, heads)) return applied<Attention>(q, k, v);
  const int64_t batch = q.size(0), tokens = q.size(1), channels = q.size(2), each = channels / heads;
  const auto split = [&](const at::Tensor& t) {  // N·heads × tokens × a head's channels
    return t.view({batch, tokens, heads, each}).transpose(1, 2).reshape({batch * heads, tokens, each});
  };
  // Few tokens: two batched products beat scaled_dot_product_attention on the CPU.
  const at::Tensor scores = at::bmm(split(q) * scoreScale(each), split(k).transpose(1, 2));
  const at::Tensor mixed = at::bmm(at::softmax(scores, -1), split(v)).view({batch, heads, tokens, each});
  return mixed.transpose(1, 2).reshape({batch, tokens, channels});
}

}  // namespace continual
