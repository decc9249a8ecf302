#pragma once

#include <ATen/ATen.h>

#include "diffusion/parametrisation.h"

namespace continual {

enum class LossKind { mse, smoothL1, minSnr };

struct Loss {
  LossKind kind = LossKind::mse;
  double gamma = 0;  // minSnr only
};

/// Mean over all elements, float32. min-SNR (arXiv 2303.09556) weighs each image's squared error.
at::Tensor loss(const Loss& kind, const Parametrisation& parametrisation, const NoiseSchedule& schedule,
                const at::Tensor& prediction, const at::Tensor& target, const at::Tensor& timesteps);

}  // namespace continual
