#include "diffusion/samplers/sampler.h"

#include <algorithm>
#include <array>

#include "runtime/error.h"

namespace continual {

namespace {

bool always(const SamplerConfig&) { return true; }
bool never(const SamplerConfig&) { return false; }

const std::array<Sampler, 7> samplers{{
    {.name = "ddim",
     .begin = ddim,
     .noisy = [](const SamplerConfig& config) { return config.eta > 0; },
     .countsInRatio = false,
     .jumps = true},
    {.name = "ddpm", .begin = ddpm, .noisy = always, .countsInRatio = false},
    {.name = "euler", .begin = euler, .noisy = never, .scalesStart = true},
    {.name = "heun", .begin = heun, .noisy = never, .scalesStart = true},
    {.name = "dpm-solver++", .begin = dpmSolver, .noisy = never, .multistep = true},
    {.name = "sde-dpm-solver++", .begin = sdeDpmSolver, .noisy = always, .multistep = true},
    {.name = "unipc", .begin = uniPc, .noisy = never, .multistep = true},
}};

/// Dynamic thresholding (arXiv 2205.11487, section 2.3): an image's range is a quantile of its pixels' magnitudes,
/// at least 1 and at most a largest, which comes first.
at::Tensor thresholded(const at::Tensor& x0, double quantile, double largest) {
  const at::Tensor flat = x0.flatten(1);
  const at::Tensor range = at::quantile(flat.abs(), quantile, /*dim=*/1, /*keepdim=*/true).clamp(1, largest);
  return (flat.minimum(range).maximum(-range) / range).view_as(x0);
}

}  // namespace

const Sampler& sampler(const std::string& name) {
  const auto* found = std::find_if(samplers.begin(), samplers.end(), [&](const Sampler& s) { return name == s.name; });
  if (found == samplers.end()) throw Error("ERR_INVALID_ARGUMENT", "sampler: unknown kind '" + name + "'");
  return *found;
}

int64_t SamplerConfig::noises() const { return sampler != nullptr && sampler->noisy(*this) ? steps : 0; }

at::Tensor ratio(const Levels& at) { return at.sigma / at.alpha; }

at::Tensor halfLogSnr(const Levels& at) { return -ratio(at).log(); }

at::Tensor addedVariance(const Trajectory& trajectory, const SamplerStep& step, const at::Tensor& kept) {
  return trajectory.schedule.isStraight() ? step.from.sigma2 - kept * step.to.sigma2 : 1 - kept;
}

at::Tensor ratioOrZero(const at::Tensor& a, const at::Tensor& b) { return at::where(b == 0, at::zeros_like(b), a / b); }

Estimate estimate(const Trajectory& trajectory, const Levels& at, const at::Tensor& xt, const at::Tensor& timesteps) {
  const SamplerConfig& config = trajectory.config;
  const at::Tensor all = trajectory.predict({xt, timesteps, {}});
  const int64_t channels = xt.size(1), more = all.size(1) - channels;
  Estimate result = trajectory.parametrisation.estimate(at, xt, all.narrow(1, 0, channels), config.tiny);
  if (more > 0) result.variance = all.narrow(1, channels, more);
  if (config.thresholdRatio > 0) {
    result.x0 = thresholded(result.x0, config.thresholdRatio, config.thresholdMax);
  } else if (config.clip > 0) {
    result.x0 = result.x0.clamp(-config.clip, config.clip);
  } else {
    return result;
  }
  // The samplers of diffusers that count in σ/α take the noise that goes with the clipped image.
  if (config.sampler->countsInRatio) result.epsilon = (xt - at.alpha * result.x0) / at.sigma;
  return result;
}

at::Tensor sample(const Trajectory& trajectory) {
  const auto& [schedule, parametrisation, config, predict, start, noise, stop, watch] = trajectory;
  const Sampler& sampler = *config.sampler;
  at::Tensor x = start;
  // One column for all images, or one each.
  const at::Tensor stops = stop.defined() ? stop : at::zeros({1}, x.options().dtype(at::kLong));
  const Timesteps all = samplerTimesteps(schedule, config, stops);
  const bool fractional =
      sampler.countsInRatio && !sampler.multistep && (config.karras || config.spacing == Spacing::linspace);
  const auto asTold = [&](const at::Tensor& t) {
    return t.to(fractional ? at::kFloat : at::kLong).expand({x.size(0)});
  };
  const auto levels = [&](const at::Tensor& t, int64_t row) {
    // A step of the others ends where the next one begins; the last at its own end.
    if (!sampler.countsInRatio) return schedule.at(t.to(at::kLong));
    const bool isEnd = row == config.steps;
    const at::Tensor ratio = isEnd ? schedule.ratioAt(t) : all.ratio.select(0, row);
    return schedule.ofRatio(isEnd ? at::where(t < 0, at::zeros_like(ratio), ratio) : ratio);
  };
  const Advance advance = sampler.begin(trajectory);
  if (sampler.scalesStart && config.spacing != Spacing::leading) x = x * levels(all.timesteps.select(0, 0), 0).sigma;
  for (int64_t i = 0; i < config.steps; ++i) {
    watch(i, x);
    const at::Tensor t = all.timesteps.select(0, i), next = all.next.select(0, i);
    SamplerStep step{i, i + 1 == config.steps, x, levels(t, i), levels(next, i + 1), asTold(t), asTold(next), {}};
    step.estimate = estimate(trajectory, step.from, x, step.timestep);
    at::Tensor end = advance(step);
    // An image that stops within fewer timesteps than there are steps has steps that go nowhere: it stays as it is.
    if (stop.defined()) end = at::where((next == t).view({-1, 1, 1, 1}), x, end);
    x = end;
  }
  return x;
}

}  // namespace continual
