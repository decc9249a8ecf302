#pragma once

#include <ATen/ATen.h>

#include <string>

#include "nn/layers.h"

namespace continual {

/// A convolution that halves images.
struct Downsample {
  Conv2d conv;
  bool padsAfter;  // a pixel right and below, in place of one on each side

  Downsample(ParameterLayout& layout, const std::string& name, int64_t channels, bool padsAfter);
  at::Tensor operator()(const Weights& w, const at::Tensor& x) const;
};

/// Images half, or twice, as high and wide, by the filter 1 3 3 1 in each direction; beyond the edges there are zeros
/// or, where it `reflects`, the pixels before them. Differentiable.
at::Tensor filteredDown(const at::Tensor& x, bool reflects);
at::Tensor filteredUp(const at::Tensor& x, bool reflects);

/// How a residual block resamples its images.
enum class Resampling { none, average, nearest, filterDown, filterUp };
at::Tensor resampled(const at::Tensor& x, Resampling how);

}  // namespace continual
