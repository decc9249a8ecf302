#include "nn/own_kernels.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <optional>

#include "runtime/processor.h"

namespace continual {

namespace {

std::optional<Kernels> best() {
#ifdef __x86_64__
  const std::string capability = at::get_cpu_capability();  // what ATEN_CPU_CAPABILITY asks libtorch to keep to, too
  if (capability == "AVX2") return avx2Kernels;
  if (capability == "AVX512") {
    Kernels result = avx512Kernels;
    const NativeBf16 bf16 = nativeBf16();
    if (bf16.avx512) result.bf16 = avx512Bf16Kernels;
    if (bf16.avx512 && bf16.amx) result.bf16.convolution = amxConvolution;
    return result;
  }
#endif
  return std::nullopt;
}

}  // namespace

const Kernels* ownKernels() {
  static const std::optional<Kernels> kernels = best();
  return kernels ? &*kernels : nullptr;
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
