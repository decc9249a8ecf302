#pragma once

#include <ATen/ATen.h>

namespace continual {

struct OptimizerConfig {
  double lr, beta1, beta2, eps, weightDecay;
  double clipGradNorm;  // 0: no clipping
};

/// Adam (arXiv 1412.6980) over one flat float32 tensor, with the gradient's norm clipped in the same pass.
struct Adam {
  at::Tensor expAvg, expAvgSq;
  at::Tensor step;  // float32 scalar on the device

  explicit Adam(const at::Tensor& weights);
  void reset();
  /// `norm`: the gradient's 2-norm, a scalar on the device.
  void update(const at::Tensor& weights, const at::Tensor& gradient, const at::Tensor& norm,
              const OptimizerConfig& config);
};

}  // namespace continual
