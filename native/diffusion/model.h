#pragma once

#include <vector>

#include "diffusion/guidance.h"
#include "diffusion/losses.h"
#include "nn/unet.h"
#include "runtime/compute.h"
#include "runtime/random.h"

namespace continual {

/// A diffusion model without its weights: the network, how it computes, how noise is added to images, and what the
/// network predicts. It doesn't change.
struct DiffusionModel {
  Compute how;
  UNet unet;
  NoiseSchedule schedule;
  Parametrisation parametrisation;

  const ParameterLayout& layout() const { return unet.layout(); }
  /// The network's prediction in float32, whatever it computes in.
  at::Tensor predict(const Weights& weights, const ModelInput& input) const;
  /// The same input, of a network that is told noise levels: timesteps with fractions are such levels, σ/α.
  ModelInput ofLevels(ModelInput input) const;
  /// What a perfect network would predict.
  at::Tensor target(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const;
  at::Tensor loss(const Loss& kind, const at::Tensor& prediction, const at::Tensor& target,
                  const at::Tensor& timesteps) const;

  std::vector<int64_t> imageShape(int64_t count) const;
  /// Standard normal numbers on the device.
  at::Tensor normal(Random& random, at::IntArrayRef shape) const;
};

}  // namespace continual
