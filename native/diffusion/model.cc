#include "diffusion/model.h"

#include "nn/cuda/functions.h"

namespace continual {

at::Tensor DiffusionModel::predict(const Weights& weights, const ModelInput& input) const {
  const auto& [xt, timesteps, labels, told, dropoutKeys] = input;
  const at::Tensor scaled =
      parametrisation.inputScale == nullptr ? xt : xt * parametrisation.inputScale(schedule.at(timesteps));
  const at::Tensor& given = told.defined() ? told : schedule.told(timesteps);
  return unet(weights, {scaled.to(how.dtype), given, labels, {}, dropoutKeys}).to(at::kFloat);
}

ModelInput DiffusionModel::ofLevels(ModelInput input) const {
  if (unet.config().timeEmbedding != TimeEmbedding::fourier || !input.timesteps.is_floating_point()) return input;
  input.told = input.timesteps;
  input.timesteps = schedule.timestepOf(input.told.to(how.device, at::kDouble)).to(at::kFloat);
  return input;
}

at::Tensor DiffusionModel::target(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const {
  return parametrisation.target(schedule.at(timesteps), x0, noise);
}

at::Tensor DiffusionModel::loss(const Loss& kind, const at::Tensor& prediction, const at::Tensor& target,
                                const at::Tensor& timesteps) const {
  return continual::loss(kind, parametrisation, schedule, prediction, target, timesteps);
}

std::vector<int64_t> DiffusionModel::imageShape(int64_t count) const {
  const UNetConfig& c = unet.config();
  return {count, c.inChannels, c.sampleHeight, c.sampleWidth};
}

at::Tensor DiffusionModel::normal(Random& random, at::IntArrayRef shape) const {
  if (const auto own = cuda::normal(random, shape, how.device)) return *own;
  return toDevice(random.normal(shape), how.device);
}

}  // namespace continual
