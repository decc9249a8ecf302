#pragma once

#include <ATen/ATen.h>

#include "diffusion/noise_schedule.h"

namespace continual {

enum class LossKind { mse, smoothL1, minSnr };

struct Loss {
  LossKind kind = LossKind::mse;
  double gamma = 0;  // minSnr only

  bool operator==(const Loss&) const = default;
};

/// Mean over all elements, float32. min-SNR (arXiv 2303.09556) weighs each image's squared error.
at::Tensor loss(const Loss& kind, const at::Tensor& answer, const at::Tensor& target, const at::Tensor& timesteps,
                const NoiseSchedule& schedule);

}  // namespace continual
