#include "nn/cuda/functions.h"
#include "nn/functions.h"
#include "nn/own_kernels.h"

namespace continual {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

bool ownGroupNorm(const at::Tensor& x) {
  return suitsOwnKernels(x) && x.size(1) % channelUnit == 0 && x.size(1) <= 4096;
}

/// y, and the statistics.
at::Tensor normalised(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu,
                      const at::Tensor& statistics) {
  const int64_t groups = statistics.size(1), step = x.stride(0);
  const GroupNormShape shape{x.size(2) * x.size(3), x.size(1), groups, static_cast<float>(eps), silu};
  const at::Tensor y = at::empty_like(x, x.options(), nhwc);
  withKernelsFor(x, [&]<class T>(const KernelsFor<T>& kernels) {
    overImages(x.size(0), [&](int64_t first, int64_t count) {
      kernels.groupNorm(shape, count, dataOf<T>(x) + first * step, dataOf<T>(weight), dataOf<T>(bias),
                        statistics.mutable_data_ptr<float>() + first * groups * 2, mutableDataOf<T>(y) + first * step);
    });
  });
  return y;
}

/// dx, and in float32 dweight and dbias, 2 × channels.
std::pair<at::Tensor, at::Tensor> gradient(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                           bool silu, const at::Tensor& statistics, const at::Tensor& dy) {
  const GroupNormShape shape{x.size(2) * x.size(3), x.size(1), statistics.size(1), /*eps=*/0, silu};  // in statistics
  const at::Tensor dx = at::empty_like(x, x.options(), nhwc);
  const at::Tensor sums = at::empty({2, shape.channels}, statistics.options());
  float* const dweight = sums.mutable_data_ptr<float>();
  withKernelsFor(x, [&]<class T>(const KernelsFor<T>& kernels) {
    kernels.groupNormGradient(shape, x.size(0), dataOf<T>(x), dataOf<T>(weight), dataOf<T>(bias),
                              statistics.const_data_ptr<float>(), dataOf<T>(dy), mutableDataOf<T>(dx), dweight,
                              dweight + shape.channels);
  });
  return {dx, sums};
}

class GroupNormFunction : public Function<GroupNormFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& weight,
                            const at::Tensor& bias, int64_t groups, double eps, bool silu) {
    const at::Tensor x = input.contiguous(nhwc);
    const at::Tensor statistics = at::empty({x.size(0), groups, 2}, x.options().dtype(at::kFloat));
    const at::Tensor y = normalised(x, weight, bias, eps, silu, statistics);
    if (context == nullptr) return y;
    context->save_for_backward({x, weight, bias, statistics});
    context->saved_data["silu"] = silu;
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], &statistics = saved[3];
    const auto [dx, sums] =
        gradient(x, weight, bias, context->saved_data["silu"].toBool(), statistics, gradients[0].contiguous(nhwc));
    const at::Tensor typed = sums.to(x.scalar_type());
    return {dx, typed.select(0, 0), typed.select(0, 1), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor groupNorm(const Joined& joined, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps,
                     bool silu) {
  if (const auto own = cuda::groupNorm(joined, {}, groups, weight, bias, eps, silu)) return *own;
  const at::Tensor x = joined.whole();
  if (ownGroupNorm(x)) return applied<GroupNormFunction>(x, weight, bias, groups, eps, silu);
  const at::Tensor normed = at::group_norm(x, groups, weight, bias, eps);
  return silu ? at::silu(normed) : normed;
}

at::Tensor convolutionNormSilu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                               const at::Tensor& perImage, int64_t groups, const at::Tensor& normWeight,
                               const at::Tensor& normBias, double eps) {
  if (x.is_cuda()) {  // the norm adds in passing what the product lacks
    const int64_t padding = weight.size(2) / 2;
    const at::Tensor product = at::conv2d(x, weight, {}, 1, padding);
    const auto own = cuda::groupNorm(product, {bias, perImage}, groups, normWeight, normBias, eps, /*silu=*/true);
    if (own) return *own;
    const at::Tensor added = (perImage + bias).unsqueeze(-1).unsqueeze(-1);
    return groupNorm(product + added, groups, normWeight, normBias, eps, /*silu=*/true);
  }
  return groupNorm(convolution(x, weight, bias, 1, {.perImage = perImage}), groups, normWeight, normBias, eps,
                   /*silu=*/true);
}

}  // namespace continual
