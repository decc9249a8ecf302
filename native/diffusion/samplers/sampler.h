#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>

#include "diffusion/guidance.h"
#include "diffusion/noise_schedule.h"
#include "diffusion/parametrisation.h"
#include "nn/model_input.h"

namespace continual {

enum class Spacing { trailing, leading };

struct Sampler;

/// Which sampler, and how; lib/config/sampler.ts documents the fields.
struct SamplerConfig {
  const Sampler* sampler = nullptr;  // null where nothing is sampled
  int64_t steps = 0;
  double eta = 0;
  bool clip = true;
  Spacing spacing = Spacing::trailing;
  Guidance guidance = {};

  bool operator==(const SamplerConfig&) const = default;
  /// How many noises, each of the images' shape, a whole trajectory takes besides its start.
  int64_t noises() const;
};

/// What a sampler visits: each step's timestep and the one that it goes to (−1: the clean image), steps × N, or × 1 for
/// all images. The step from t goes to t − ⌊(T − stop)/S⌋, which is not always the next timestep: that is how the
/// paper's code runs it.
struct Timesteps {
  at::Tensor timesteps, next;
};
/// `stop`: int64 N or 1, where each image stops; 0 goes on to the clean image.
Timesteps samplerTimesteps(int64_t total, const SamplerConfig& config, const at::Tensor& stop);

/// A trajectory from noise to images, as a sampler sees it. It may call `denoiser` as often as it likes and keep what
/// came before; nothing of it may be copied between host and device.
struct Trajectory {
  const NoiseSchedule& schedule;
  const SamplerConfig& config;
  /// The network with its parametrisation, labels and guidance: (x_t, t) → (x̂₀, ε̂), float32.
  std::function<Estimate(const ModelInput&)> denoiser;
  at::Tensor start;  // standard normal, N×C×H×W
  /// The i-th of `config.noises()` noises.
  std::function<at::Tensor(int64_t i)> noise;
  /// int64 N, where each image stops, or undefined: all go to the clean image.
  at::Tensor stop;
  /// Called before each step with x_t; may throw to end it.
  std::function<void(int64_t step, const at::Tensor& xt)> watch;
};

/// A kind of sampler: a function over a whole trajectory that gives its end. A new one is a file beside this one and a
/// row of the table in sampler.cc.
struct Sampler {
  const char* name;
  at::Tensor (*run)(const Trajectory&);
  bool (*noisy)(const SamplerConfig&);
};
/// By its name in lib/config/sampler.ts. Throws ERR_INVALID_ARGUMENT.
const Sampler& sampler(const std::string& name);

/// Runs the sampler that the trajectory's configuration names.
at::Tensor sample(const Trajectory& trajectory);

/// One step of a sampler that goes from each timestep to the next: `x` are the images at `from`.
struct SamplerStep {
  int64_t index;
  at::Tensor x;
  Levels from, to;
  Estimate estimate;  // x̂₀ clipped where the configuration says so
};
/// The loop of samplers that call the network once a step. `advance` gives the images at the step's end; those that
/// have reached their stop stay as they are.
at::Tensor stepThrough(const Trajectory& trajectory, const std::function<at::Tensor(const SamplerStep&)>& advance);

at::Tensor ddim(const Trajectory& trajectory);
at::Tensor ddpm(const Trajectory& trajectory);

}  // namespace continual
