// Convolutions and linear layers: what is around their products.
#ifdef CONTINUAL_DIFFUSION_CUDA
#include "kernels/cuda/plans.h"
#include "nn/cuda/functions.h"
#include "nn/cuda/launch.h"

namespace continual::cuda {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// y += bias, and image where it is defined; both channels-last.
void addSummands(const Program& program, const at::Tensor& bias, const at::Tensor& image, const at::Tensor& y) {
  const int vectors = static_cast<int>(y.numel() / vectorWidth), each = 4 * 256;  // as in sums.cu
  program.launch(nameFor("addSummands", y.scalar_type(), image.defined() ? ", true" : ", false"),
                 {(vectors + each - 1) / each, 256, 1, 0}, vectors, static_cast<int>(y.size(1)), bias.const_data_ptr(),
                 image.defined() ? image.const_data_ptr() : nullptr, y.mutable_data_ptr());
}

at::Tensor sumParts(const Program& program, const at::Tensor& rows, int64_t most, at::ScalarType dtype) {
  const SumPlan plan = planSum(static_cast<int>(rows.size(0)), static_cast<int>(rows.size(1)), static_cast<int>(most));
  const at::Tensor sums = at::empty({plan.parts, rows.size(1)}, rows.options().dtype(dtype));
  program.launch(nameFor("sumRows", rows.scalar_type(), dtype == at::kFloat ? ", float" : ", BFloat16"),
                 {plan.slices * plan.parts, plan.across, plan.down, plan.sharedMemory()},
                 static_cast<int>(rows.size(0)), static_cast<int>(rows.size(1)), plan.parts, rows.const_data_ptr(),
                 sums.mutable_data_ptr());
  return sums;
}

class Convolution : public torch::autograd::Function<Convolution> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& weight,
                            const at::Tensor& bias, const std::optional<at::Tensor>& image, int64_t stride,
                            const Program* program) {
    const c10::cuda::CUDAGuard device(input.device());
    const at::Tensor x = input.contiguous(nhwc);
    const int64_t padding = weight.size(2) / 2;
    const at::Tensor y = at::conv2d(x, weight, {}, {stride, stride}, {padding, padding}).contiguous(nhwc);
    addSummands(*program, bias, image ? aligned(image->contiguous(nhwc)) : at::Tensor(), y);
    if (context == nullptr) return y;
    context->save_for_backward({x, weight});
    context->saved_data["stride"] = stride;
    context->saved_data["image"] = image.has_value();
    keep(context, program);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const c10::cuda::CUDAGuard device(x.device());
    const at::Tensor dy = aligned(gradients[0].contiguous(nhwc));
    const int64_t stride = context->saved_data["stride"].toInt(), padding = weight.size(2) / 2;
    const auto [dx, dw, none] = at::convolution_backward(
        dy, x, weight, std::nullopt, {stride, stride}, {padding, padding}, {1, 1},
        /*transposed=*/false, {0, 0}, /*groups=*/1, {context->needs_input_grad(0), true, false});
    const at::Tensor db = sumRows(kept(context), dy.permute({0, 2, 3, 1}).flatten(0, 2), dy.scalar_type());
    return {dx, dw, db, context->saved_data["image"].toBool() ? dy : at::Tensor(), {}, {}};
  }
};

class Linear : public torch::autograd::Function<Linear> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const std::optional<at::Tensor>& second,
                            const at::Tensor& weight, const at::Tensor& bias, const Program* program) {
    const c10::cuda::CUDAGuard device(x.device());
    const at::Tensor rows = rowsOf(x), more = second ? rowsOf(*second) : at::Tensor();
    at::Tensor y = at::addmm(bias, rows, weight.narrow(1, 0, rows.size(1)).t());
    if (second) y.addmm_(more, weight.narrow(1, rows.size(1), more.size(1)).t());
    if (context != nullptr) {
      context->save_for_backward({rows, more, weight});
      keep(context, program);
    }
    return withLast(y, x.sizes());
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &rows = saved[0], &more = saved[1], &weight = saved[2];
    const c10::cuda::CUDAGuard device(rows.device());
    const at::Tensor dy = aligned(rowsOf(gradients[0]).contiguous()), dw = at::empty_like(weight);
    int64_t begin = 0;
    const auto gradientOf = [&](const at::Tensor& x, bool needed) {
      if (!x.defined()) return at::Tensor();
      at::Tensor part = dw.narrow(1, begin, x.size(1));
      at::mm_out(part, dy.t(), x);
      const at::Tensor w = weight.narrow(1, begin, x.size(1));
      begin += x.size(1);
      return needed ? withLast(dy.mm(w), gradients[0].sizes()) : at::Tensor();
    };
    const at::Tensor dx = gradientOf(rows, context->needs_input_grad(0)), dSecond = gradientOf(more, true);
    return {dx, dSecond, dw, sumRows(kept(context), dy, dy.scalar_type()), {}};
  }

 private:
  static at::Tensor rowsOf(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }
  static at::Tensor withLast(const at::Tensor& rows, at::IntArrayRef like) {
    std::vector<int64_t> sizes = like.vec();
    sizes.back() = rows.size(1);
    return rows.view(sizes);
  }
};

}  // namespace

at::Tensor sumRows(const Program& program, const at::Tensor& rows, at::ScalarType dtype) {
  if (rows.size(0) <= fewRows) return sumParts(program, rows, 1, dtype).view({-1});
  return sumParts(program, sumParts(program, rows, mostSums, at::kFloat), 1, dtype).view({-1});
}

at::Tensor convolution(const Program* program, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       int64_t stride, const at::Tensor& image) {
  return applied<Convolution>(x, weight, bias, given(image), stride, program);
}

at::Tensor linear(const Program* program, const at::Tensor& x, const at::Tensor& second, const at::Tensor& weight,
                  const at::Tensor& bias) {
  return applied<Linear>(x, given(second), weight, bias, program);
}

namespace {

bool suits(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t outputs) {
  return x.is_cuda() && fits(x, bias.size(0)) && outputs <= mostNumbers && weight.scalar_type() == x.scalar_type() &&
         bias.scalar_type() == x.scalar_type();
}

}  // namespace

std::optional<at::Tensor> convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                      int64_t stride, const at::Tensor& image) {
  if (!suits(x, weight, bias, x.numel() / x.size(1) * bias.size(0))) return std::nullopt;
  const Program* const program = kernelsFor(x);
  if (program == nullptr) return std::nullopt;
  return convolution(program, x, weight, bias, stride, image);
}

std::optional<at::Tensor> linear(const at::Tensor& x, const at::Tensor& second, const at::Tensor& weight,
                                 const at::Tensor& bias) {
  if (!suits(x, weight, bias, x.numel() / x.size(-1) * bias.size(0))) return std::nullopt;
  const Program* const program = kernelsFor(x);
  if (program == nullptr) return std::nullopt;
  return linear(program, x, second, weight, bias);
}

}  // namespace continual::cuda

#endif
