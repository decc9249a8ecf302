#ifdef CONTINUAL_DIFFUSION_CUDA
#include "kernels/cuda/plans.h"
#include "nn/cuda/functions.h"
#include "nn/cuda/launch.h"

namespace continual::cuda {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// `small`: the sizes of the small image.
void launch(const Program& program, const char* function, const at::Tensor& small, const at::Tensor& from,
            const at::Tensor& to) {
  const int vectors = static_cast<int>(small.numel() / vectorWidth);
  const int perPixel = static_cast<int>(small.size(1) / vectorWidth);
  program.launch(nameFor(function, small.scalar_type()), {(vectors + 255) / 256, 256, 1, 0}, vectors,
                 perPixel * static_cast<int>(small.size(3)), perPixel, from.const_data_ptr(), to.mutable_data_ptr());
}

class Upsample : public torch::autograd::Function<Upsample> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const Program* program) {
    const c10::cuda::CUDAGuard device(input.device());
    const at::Tensor x = aligned(input.contiguous(nhwc));
    const at::Tensor y = at::empty({x.size(0), x.size(1), 2 * x.size(2), 2 * x.size(3)}, x.options(), nhwc);
    launch(*program, "upsample", x, x, y);
    if (context != nullptr) keep(context, program);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const c10::cuda::CUDAGuard device(gradients[0].device());
    const at::Tensor dy = aligned(gradients[0].contiguous(nhwc));
    const at::Tensor dx = at::empty({dy.size(0), dy.size(1), dy.size(2) / 2, dy.size(3) / 2}, dy.options(), nhwc);
    launch(kept(context), "upsampleGradient", dx, dy, dx);
    return {dx, {}};
  }
};

}  // namespace

at::Tensor upsample(const Program* program, const at::Tensor& x) { return applied<Upsample>(x, program); }

std::optional<at::Tensor> upsample(const at::Tensor& x) {
  if (!x.is_cuda() || !fits(x, x.size(1))) return std::nullopt;
  const Program* const program = kernelsFor(x);
  if (program == nullptr) return std::nullopt;
  return upsample(program, x);
}

}  // namespace continual::cuda

#endif
