#include <ATen/Parallel.h>

#include "nn/cuda/functions.h"
#include "nn/functions.h"
#include "nn/own_kernels.h"

namespace continual {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Whatever the number of images, so that an image's numbers don't depend on it; of one image of few pixels oneDNN would
// be faster, as the weights are transformed for each call.
bool ownConvolution(const at::Tensor& x, const at::Tensor& weight, int64_t stride) {
  if (!suitsOwnKernels(x) || weight.size(2) != 3 || stride != 1) return false;
  if (weight.size(0) % channelUnit != 0 || weight.size(1) % channelUnit != 0) return false;
  return withKernelsFor(x, [](const auto& kernels) { return kernels.convolution.forward != nullptr; });
}

ConvolutionShape shapeOf(const at::Tensor& x, const at::Tensor& weight) {
  return {x.size(2), x.size(3), weight.size(1), weight.size(0)};
}

template <class T>
const T* dataOrNull(const at::Tensor& x) {
  return x.defined() ? dataOf<T>(x) : nullptr;
}

class Convolution : public Function<Convolution> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& weight,
                            const at::Tensor& bias, const std::optional<at::Tensor>& perImage,
                            const std::optional<at::Tensor>& image) {
    const at::Tensor x = input.contiguous(nhwc), w = weight.contiguous(nhwc);
    const at::Tensor same = perImage ? perImage->contiguous() : at::Tensor();
    const at::Tensor plus = image ? image->contiguous(nhwc) : at::Tensor();
    const ConvolutionShape shape = shapeOf(x, w);
    const at::Tensor y = at::empty({x.size(0), shape.out, shape.height, shape.width}, x.options(), nhwc);
    const int64_t from = x.stride(0), to = y.stride(0);
    withKernelsFor(x, [&]<class T>(const KernelsFor<T>& kernels) {
      overImages(x.size(0), [&](int64_t first, int64_t count) {
        const auto at = [first](const T* p, int64_t step) { return p == nullptr ? p : p + first * step; };
        kernels.convolution.forward(
            shape, count, dataOf<T>(x) + first * from, dataOf<T>(w),
            {dataOrNull<T>(bias), at(dataOrNull<T>(same), shape.out), at(dataOrNull<T>(plus), to)},
            mutableDataOf<T>(y) + first * to, scratch(kernels.convolution.scratch(shape, count)));
      });
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
    const at::Tensor dy = gradients[0].contiguous(nhwc);
    const ConvolutionShape shape = shapeOf(x, w);
    at::Tensor dx;
    if (context->needs_input_grad(0)) {
      dx = at::empty_like(x, x.options(), nhwc);
      const int64_t from = dy.stride(0), to = dx.stride(0);
      withKernelsFor(x, [&]<class T>(const KernelsFor<T>& kernels) {
        overImages(x.size(0), [&](int64_t first, int64_t count) {
          kernels.convolution.input(shape, count, dataOf<T>(dy) + first * from, dataOf<T>(w),
                                    mutableDataOf<T>(dx) + first * to,
                                    scratch(kernels.convolution.scratch(shape, count)));
        });
      });
    }
    // A sum for each thread's share of the images, added in their order.
    const int64_t images = x.size(0), parts = std::min<int64_t>(images, at::get_num_threads());
    std::vector<at::Tensor> sums(static_cast<size_t>(parts));
    withKernelsFor(x, [&]<class T>(const KernelsFor<T>& kernels) {
      overImages(parts, [&](int64_t begin, int64_t count) {
        for (int64_t part = begin; part < begin + count; ++part) {
          const int64_t first = images * part / parts, some = images * (part + 1) / parts - first;
          at::Tensor& sum = sums[static_cast<size_t>(part)];
          sum = at::empty_like(w, w.options(), nhwc);
          kernels.convolution.weight(shape, some, dataOf<T>(x) + first * x.stride(0),
                                     dataOf<T>(dy) + first * dy.stride(0), mutableDataOf<T>(sum),
                                     scratch(kernels.convolution.scratch(shape, some)));
        }
      });
    });
    const at::Tensor& dw = sums[0];
    for (int64_t part = 1; part < parts; ++part) dw.add_(sums[static_cast<size_t>(part)]);
    const at::Tensor perImage = dy.sum({2, 3});
    return {dx, dw, perImage.sum(0), context->saved_data["perImage"].toBool() ? perImage : at::Tensor(),
            context->saved_data["image"].toBool() ? dy : at::Tensor()};
  }
};

}  // namespace

Joined::Joined(const at::Tensor& one, const at::Tensor& other)
    : first(one.is_cuda() ? one : at::cat({one, other}, 1)), second(one.is_cuda() ? other : at::Tensor()) {}

namespace {

at::Tensor pixelsOf(const at::Tensor& x) { return x.defined() ? x.permute({0, 2, 3, 1}) : x; }

at::Tensor linearOf(const at::Tensor& x, const at::Tensor& second, const at::Tensor& weight, const at::Tensor& bias) {
  if (const auto own = cuda::linear(x, second, weight, bias)) return *own;
  return at::linear(second.defined() ? at::cat({x, second}, -1) : x, weight, bias);
}

/// The product and its bias, where no convolution of ours serves.
at::Tensor product(const Joined& joined, const at::Tensor& weight, const at::Tensor& bias, int64_t stride) {
  if (weight.size(2) == 1 && stride == 1) {  // a matrix product, which oneDNN is slower at
    return linearOf(pixelsOf(joined.first), pixelsOf(joined.second), weight.flatten(1), bias).permute({0, 3, 1, 2});
  }
  const int64_t padding = weight.size(2) / 2;
  return at::conv2d(joined.whole(), weight, bias, {stride, stride}, {padding, padding});
}

}  // namespace

at::Tensor convolution(const Joined& joined, const at::Tensor& weight, const at::Tensor& bias, int64_t stride,
                       const Summands& plus) {
  if (weight.size(2) != 1) {
    const at::Tensor x = joined.whole();
    if (ownConvolution(x, weight, stride)) {
      return applied<Convolution>(x, weight, bias, given(plus.perImage), given(plus.image));
    }
    if (!plus.perImage.defined()) {
      if (const auto own = cuda::convolution(x, weight, bias, stride, plus.image)) return *own;
    }
  }
  at::Tensor y = product(joined, weight, bias, stride);
  if (plus.perImage.defined()) y = y + plus.perImage.unsqueeze(-1).unsqueeze(-1);
  return plus.image.defined() ? plus.image + y : y;
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return linearOf(x, {}, weight, bias);
}

}  // namespace continual
