#include "diffusion/noise_schedule.h"

namespace continual {

NoiseSchedule::NoiseSchedule(const at::Tensor& alpha2, const at::Tensor& sigma2, at::Device device) {
  const at::Tensor squares =
      at::stack({at::cat({at::ones({1}), alpha2}), at::cat({at::zeros({1}), sigma2})}).to(device);
  table_ = at::cat({squares.sqrt(), squares});
}

Levels NoiseSchedule::at(const at::Tensor& timesteps) const {
  const at::Tensor columns = table_.gather(1, (timesteps + 1).expand({4, -1})).view({4, -1, 1, 1, 1});
  return {columns.select(0, 0), columns.select(0, 1), columns.select(0, 2), columns.select(0, 3)};
}

at::Tensor NoiseSchedule::addNoise(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const {
  const Levels at = this->at(timesteps);
  return at.alpha * x0 + at.sigma * noise;
}

}  // namespace continual
