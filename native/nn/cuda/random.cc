#ifdef CONTINUAL_DIFFUSION_CUDA
#include "nn/cuda/functions.h"
#include "nn/cuda/launch.h"

namespace continual::cuda {

at::Tensor normal(const Program* program, Random& random, at::IntArrayRef shape, at::Device device) {
  const c10::cuda::CUDAGuard guard(device);
  const int64_t count = c10::multiply_integers(shape), blocks = (count + 3) / 4;
  const at::Tensor all = at::empty({4 * blocks}, at::TensorOptions(device).dtype(at::kFloat));
  const uint64_t first = random.take(count);
  program->launch("standardNormal", {static_cast<int>((blocks + 255) / 256), 256, 1, 0}, random.seed(), random.stream(),
                  first, static_cast<int>(blocks), all.mutable_data_ptr());
  return all.narrow(0, 0, count).view(shape);
}

std::optional<at::Tensor> normal(Random& random, at::IntArrayRef shape, at::Device device) {
  const int64_t count = c10::multiply_integers(shape);
  if (!device.is_cuda() || count == 0 || count > mostNumbers) return std::nullopt;
  const Program* const program = kernelsFor(device);
  if (program == nullptr) return std::nullopt;
  return normal(program, random, shape, device);
}

}  // namespace continual::cuda

#endif
