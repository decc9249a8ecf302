#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "diffusion/noise_schedule.h"
#include "runtime/cancellation.h"

namespace continual {

enum class SamplerKind { ddim, ddpm };
enum class Spacing { trailing, leading };

struct SamplerConfig {
  SamplerKind kind;
  int64_t steps;
  double eta;
  bool clip;
  Spacing spacing;

  bool noisy() const { return kind == SamplerKind::ddpm || eta > 0; }
};

/// A step of every image of a batch: from its timestep to its previous one (−1: the clean image), int64 N each.
struct SamplerStep {
  at::Tensor timesteps, previous;
};

/// The steps of images whose sampling stops at `stop` (int64 N; 0: goes to the end), steps × N, on its device. The step
/// from t goes to t − ⌊(T − stop)/S⌋, which is not always the next timestep: that is how the paper's code runs it.
struct Timesteps {
  at::Tensor timesteps, previous;
};
Timesteps samplerTimesteps(int64_t total, const SamplerConfig& sampler, const at::Tensor& stop);

/// x_t → x_previous, given the network's answer at x_t. `noise` is read only where the sampler is noisy.
at::Tensor samplerStep(const NoiseSchedule& schedule, const SamplerConfig& sampler, const at::Tensor& xt,
                       const at::Tensor& answer, const SamplerStep& step, const at::Tensor& noise);

/// The network as a sampler sees it: (x_t, timesteps) → answer, float32 N×C×H×W both.
using Denoiser = std::function<at::Tensor(const at::Tensor& xt, const at::Tensor& timesteps)>;
/// The noise of the i-th step, shaped like the images.
using StepNoise = std::function<at::Tensor(int64_t step)>;

/// Denoises `start` (standard normal, N×C×H×W). `stop`: one timestep per image (int64), or undefined to go to
/// the clean image. Nothing is copied between host and device. Throws Cancelled between steps.
at::Tensor sample(const NoiseSchedule& schedule, const SamplerConfig& sampler, const Denoiser& denoiser,
                  at::Tensor start, const StepNoise& noise, const at::Tensor& stop, const Cancellation& cancellation);

}  // namespace continual
