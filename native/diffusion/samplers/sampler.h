#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "diffusion/guidance.h"
#include "diffusion/noise_schedule.h"
#include "diffusion/parametrisation.h"
#include "nn/model_input.h"

namespace continual {

enum class Spacing { trailing, leading, linspace };
enum class Variance { small, large, learned, learnedRange };

struct Sampler;

/// Which sampler, and how; lib/config/sampler.ts documents the fields.
struct SamplerConfig {
  const Sampler* sampler = nullptr;  // null where nothing is sampled
  int64_t steps = 0;
  double eta = 0;
  double clip = 0;                              // 0: not at all
  double thresholdRatio = 0, thresholdMax = 0;  // dynamic thresholding where the ratio isn't 0
  Spacing spacing = Spacing::trailing;
  int64_t offset = 0;                   // of leading timesteps
  bool karras = false;                  // the σ/α of the steps as in arXiv 2206.00364, equation 5, ρ = 7
  bool endsAtFirst = false;             // at timestep 0 and not at the clean image
  Variance variance = Variance::small;  // DDPM's
  double tiny = 0;                      // what the paper's code adds to ᾱ
  Guidance guidance = {};

  bool operator==(const SamplerConfig&) const = default;
  /// How many noises, each of the images' shape, a whole trajectory takes besides its start.
  int64_t noises() const;
};

/// What a sampler visits, float64: each step's timestep and the one that it goes to (−1: the clean image), steps × N,
/// or × 1 for all images.
struct Timesteps {
  at::Tensor timesteps, next;
  at::Tensor ratio;  // σ/α of `timesteps`, of samplers that count in it
};
/// `stop`: int64 N or 1, where each image stops; 0 goes on to the clean image.
Timesteps samplerTimesteps(const NoiseSchedule& schedule, const SamplerConfig& config, const at::Tensor& stop);

/// A trajectory from noise to images, as a sampler sees it. It may call the network as often as it likes and keep what
/// came before; nothing of it may be copied between host and device.
struct Trajectory {
  const NoiseSchedule& schedule;
  const Parametrisation& parametrisation;
  const SamplerConfig& config;
  /// The network with its labels and guidance: (x_t, t) → its prediction, float32, and in as many channels more what it
  /// says of its variance, if anything.
  std::function<at::Tensor(const ModelInput&)> predict;
  at::Tensor start;  // standard normal, N×C×H×W
  /// The i-th of `config.noises()` noises.
  std::function<at::Tensor(int64_t i)> noise;
  /// int64 N, where each image stops, or undefined: all go to the clean image.
  at::Tensor stop;
  /// Called before each step with x_t; may throw to end it.
  std::function<void(int64_t step, const at::Tensor& xt)> watch;
};

/// One step of a sampler: `x` are the images at `from`.
struct SamplerStep {
  int64_t index;
  bool isLast;
  at::Tensor x;
  Levels from, to;
  at::Tensor timestep, next;  // of `from` and `to`, as the network takes them: N
  Estimate estimate;          // x̂₀ clipped or thresholded where the configuration says so
};
/// The images at the step's end.
using Advance = std::function<at::Tensor(const SamplerStep&)>;

/// A kind of sampler. A new one is a file beside this one and a row of the table in sampler.cc.
struct Sampler {
  const char* name;
  /// A function for the steps of one trajectory, which may keep what came before.
  Advance (*begin)(const Trajectory&);
  bool (*noisy)(const SamplerConfig&);
  /// Counts in σ/α as diffusers' schedulers of this kind do: it may visit timesteps with fractions, and a step ends
  /// where the next begins.
  bool countsInRatio = true;
  /// A step goes by ⌊T/S⌋, which need not be the next timestep.
  bool jumps = false;
  /// Takes S of S + 1 timesteps, and these without fractions.
  bool multistep = false;
  /// Begins at σ · start where the spacing isn't `leading`.
  bool scalesStart = false;
};
/// By its name in lib/config/sampler.ts. Throws ERR_INVALID_ARGUMENT.
const Sampler& sampler(const std::string& name);

/// Runs the sampler that the trajectory's configuration names.
at::Tensor sample(const Trajectory& trajectory);

/// What the network sees in x_t, clipped or thresholded where the configuration says so.
Estimate estimate(const Trajectory& trajectory, const Levels& at, const at::Tensor& xt, const at::Tensor& timesteps);
/// What divides in place of an ᾱ that is smaller than any of float32's numbers: such an image is noise alone, and stays
/// so whatever part of the noise a step replaces: all of it.
constexpr float smallest = std::numeric_limits<float>::min();
/// σ/α and its negative logarithm λ, of levels; λ = ∞ for the clean image.
at::Tensor ratio(const Levels& at);
at::Tensor halfLogSnr(const Levels& at);
/// The variance of the noise that the forward process adds between a step's end and its start, for kept = α²/α² of the
/// two: what an ancestral sampler replaces.
at::Tensor addedVariance(const Trajectory& trajectory, const SamplerStep& step, const at::Tensor& kept);
/// a / b, and 0 where b is 0: an image whose step goes nowhere.
at::Tensor ratioOrZero(const at::Tensor& a, const at::Tensor& b);

Advance ddim(const Trajectory& trajectory);
Advance ddpm(const Trajectory& trajectory);
Advance euler(const Trajectory& trajectory);
Advance heun(const Trajectory& trajectory);
Advance dpmSolver(const Trajectory& trajectory);
Advance sdeDpmSolver(const Trajectory& trajectory);
Advance uniPc(const Trajectory& trajectory);

}  // namespace continual
