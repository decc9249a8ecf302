#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <functional>
#include <optional>
#include <type_traits>

#include "kernels/kernels.h"

namespace continual {

constexpr auto nhwc = at::MemoryFormat::ChannelsLast;

/// Null where there are none for this processor.
const Kernels* ownKernels();

/// Whether `x` is of the CPU, for which there are kernels, and float32 or bfloat16.
bool suitsOwnKernels(const at::Tensor& x);

/// Room for one kernel at a time, kept by each thread: giving pages back and taking them again takes longer than some
/// kernels do.
float* scratch(int64_t size);

/// The images of a batch between the calling thread's share of libtorch's threads.
void overImages(int64_t images, const std::function<void(int64_t first, int64_t count)>& work);

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

/// What `work` gives for the kernels for the numbers of `x`.
template <class Work>
auto withKernelsFor(const at::Tensor& x, const Work& work) {
  return x.scalar_type() == at::kFloat ? work(ownKernels()->fp32) : work(ownKernels()->bf16);
}

/// A tensor that may be undefined, as autograd's functions take it.
inline std::optional<at::Tensor> given(const at::Tensor& x) { return x.defined() ? std::optional(x) : std::nullopt; }

/// A function with a gradient of its own. Where none is wanted, `forward` alone, with no context to keep things in.
template <class F, class... Inputs>
at::Tensor applied(const Inputs&... inputs) {
  return c10::GradMode::is_enabled() ? F::apply(inputs...) : F::forward(nullptr, inputs...);
}

}  // namespace continual
