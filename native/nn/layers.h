#pragma once

#include <ATen/ATen.h>

#include <string>

#include "nn/functions.h"
#include "nn/parameters.h"

namespace continual {

/// Layers are plain values: where their parameters stand in `Weights`, and how to apply them.

struct Conv2d {
  int weight, bias;  // bias −1: none
  int64_t stride;

  Conv2d(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out, int64_t kernel, int64_t stride = 1,
         bool hasBias = true);
  at::Tensor operator()(const Weights& w, const Joined& x, const Summands& plus = {}) const;
};

struct Linear {
  int weight, bias;

  Linear(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out);
  at::Tensor operator()(const Weights& w, const at::Tensor& x) const;
};

/// A row for each label.
struct Embedding {
  int weight;
  int64_t rows;

  Embedding(ParameterLayout& layout, const std::string& name, int64_t rows, int64_t width);
  /// int64 N → N × width. A label without a row gives zeros.
  at::Tensor operator()(const Weights& w, const at::Tensor& labels) const;
};

struct GroupNorm {
  int weight, bias;
  int64_t groups;
  double eps;

  GroupNorm(ParameterLayout& layout, const std::string& name, int64_t channels, int64_t groups, double eps);
  at::Tensor operator()(const Weights& w, const Joined& x) const;
  /// activation(norm(x)), the pair that every block begins with.
  at::Tensor activated(const Weights& w, const Joined& x, Activation activation) const;
};

/// Group norm without weights, and then a scale and a shift for each image and channel, projections of its embedding.
struct AdaptiveGroupNorm {
  Linear projection;
  int64_t channels, groups;
  double eps;

  AdaptiveGroupNorm(ParameterLayout& layout, const std::string& name, int64_t channels, int64_t groups, double eps,
                    int64_t embeddingWidth);
  at::Tensor operator()(const Weights& w, const Joined& x, const at::Tensor& embedding) const;
};

/// x · (1 + scale) + shift, of N × 2C numbers beside each other.
at::Tensor scaledAndShifted(const at::Tensor& x, const at::Tensor& scaleAndShift);

/// silu(norm(conv(x) + perImage)), of a convolution of stride 1.
at::Tensor convolutionNormSilu(const Weights& w, const Conv2d& conv, const GroupNorm& norm, const at::Tensor& x,
                               const at::Tensor& perImage);

}  // namespace continual
