#include "nn/own_kernels.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>

namespace continual {

const Kernels* ownKernels() {
  static const Kernels* const best = kernels(at::get_cpu_capability().c_str());
  return best;
}

bool suitsOwnKernels(const at::Tensor& x) {
  return ownKernels() != nullptr && x.device().is_cpu() &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

float* scratch(int64_t size) {
  thread_local at::Tensor kept;
  if (!kept.defined() || kept.numel() < size) kept = at::empty({size}, at::kFloat);
  return kept.mutable_data_ptr<float>();
}

void overImages(int64_t images, const std::function<void(int64_t first, int64_t count)>& work) {
  at::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) { work(begin, end - begin); });
}

}  // namespace continual
