#include "diffusion/losses.h"

namespace continual {

at::Tensor loss(const Loss& kind, const Parametrisation& parametrisation, const NoiseSchedule& schedule,
                const at::Tensor& prediction, const at::Tensor& target, const at::Tensor& timesteps) {
  switch (kind.kind) {
    case LossKind::mse:
      return at::mse_loss(prediction, target);
    case LossKind::smoothL1:
      return at::smooth_l1_loss(prediction, target);
    case LossKind::huber:
      return at::huber_loss(prediction, target, at::Reduction::Mean, kind.parameter);
    case LossKind::minSnr:
      break;
  }
  return (parametrisation.minSnrWeight(schedule.at(timesteps), kind.parameter) * (prediction - target).square()).mean();
}

}  // namespace continual
