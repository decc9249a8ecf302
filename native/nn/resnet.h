#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>

#include "nn/condition.h"
#include "nn/layers.h"
#include "nn/resampling.h"
#include "nn/unet_config.h"

namespace continual {

/// What distinguishes a residual block from others of its network.
struct ResnetShape {
  int64_t in, out;
  int64_t groupsIn, groupsOut;
  double divisor = 1;  // of the sum
  Resampling resampling = Resampling::none;
  bool alwaysProjects = false;  // what is added, also where `in` is `out`
};

/// norm, activation, convolution, the time's shift (or, after the norm, its scale and shift), norm, activation,
/// dropout, convolution; plus the input, projected where its channels are not `out`.
struct ResnetBlock {
  GroupNorm norm1;
  Conv2d conv1;
  Linear timeProjection;
  GroupNorm norm2;
  Conv2d conv2;
  std::optional<Conv2d> shortcut;
  Activation activation;
  bool scalesAndShifts;
  Resampling resampling;
  double divisor;

  ResnetBlock(ParameterLayout& layout, const std::string& name, const ResnetShape& shape, const UNetConfig& config);
  /// Where `in` and `out` have the network's groups.
  ResnetBlock(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out, const UNetConfig& config,
              Resampling resampling = Resampling::none, double divisor = 1);
  at::Tensor operator()(const Weights& w, const Joined& x, const Condition& condition) const;
};

}  // namespace continual
