#pragma once

// Sums of float32 or bfloat16 numbers in float32. They replace two of libtorch's operators and, of bf16, a copy in
// float32.

#include "kernels/vector.h"

namespace continual {
namespace {

template <class T>
void addTo(int64_t count, bool first, const T* a, const T* b, float* sum) {
  const auto over = [&](auto add) {
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) store(sum + i, add([i](const auto* from) { return load(from + i); }));
    for (; i < count; ++i) sum[i] = add([i](const auto* from) { return number(from[i]); });
  };
  if (first && b != nullptr) over([=](auto at) { return at(a) + at(b); });
  if (first && b == nullptr) over([=](auto at) { return at(a); });
  if (!first && b != nullptr) over([=](auto at) { return at(sum) + at(a) + at(b); });
  if (!first && b == nullptr) over([=](auto at) { return at(sum) + at(a); });
}

}  // namespace
}  // namespace continual
