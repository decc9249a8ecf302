#pragma once

#include <ATen/ATen.h>

#include "diffusion/parametrisation.h"

namespace continual {

enum class LossKind { mse, smoothL1, huber, minSnr };

struct Loss {
  LossKind kind = LossKind::mse;
  double parameter = 0;  // min-SNR's γ, Huber's δ
};

/// Mean over all elements, float32. min-SNR (arXiv 2303.09556) weighs each image's squared error.
at::Tensor loss(const Loss& kind, const Parametrisation& parametrisation, const NoiseSchedule& schedule,
                const at::Tensor& prediction, const at::Tensor& target, const at::Tensor& timesteps);

}  // namespace continual
