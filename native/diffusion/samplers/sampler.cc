#include "diffusion/samplers/sampler.h"

#include <algorithm>
#include <array>

#include "runtime/error.h"

namespace continual {

namespace {

const std::array<Sampler, 2> all{{
    {"ddim", ddim, [](const SamplerConfig& config) { return config.eta > 0; }},
    {"ddpm", ddpm, [](const SamplerConfig&) { return true; }},
}};

}  // namespace

const Sampler& sampler(const std::string& name) {
  const auto* found = std::find_if(all.begin(), all.end(), [&](const Sampler& s) { return name == s.name; });
  if (found == all.end()) throw Error("ERR_INVALID_ARGUMENT", "sampler: unknown kind '" + name + "'");
  return *found;
}

int64_t SamplerConfig::noises() const { return sampler != nullptr && sampler->noisy(*this) ? steps : 0; }

Timesteps samplerTimesteps(int64_t total, const SamplerConfig& config, const at::Tensor& stop) {
  const at::Tensor span = total - stop, jump = span.div(config.steps, "floor");
  const at::Tensor left = at::arange(config.steps, 0, -1, stop.options()).unsqueeze(1);  // S, S − 1, … 1
  const at::Tensor timesteps =
      config.spacing == Spacing::trailing
          // Rounds half to even, as NumPy does.
          ? (span.to(at::kDouble) * left / static_cast<double>(config.steps)).round().to(at::kLong) - 1 + stop
          : (left - 1) * jump + stop;
  return {timesteps, at::maximum(timesteps - jump, stop - 1)};
}

at::Tensor sample(const Trajectory& trajectory) { return trajectory.config.sampler->run(trajectory); }

at::Tensor stepThrough(const Trajectory& trajectory, const std::function<at::Tensor(const SamplerStep&)>& advance) {
  const auto& [schedule, config, denoiser, start, noise, stop, watch] = trajectory;
  at::Tensor x = start;
  // One column for all images, or one each.
  const at::Tensor stops = stop.defined() ? stop : at::zeros({1}, x.options().dtype(at::kLong));
  const Timesteps all = samplerTimesteps(schedule.timesteps(), config, stops);
  const auto ofStep = [&](const at::Tensor& t, int64_t i) { return t.select(0, i).expand({x.size(0)}); };
  for (int64_t i = 0; i < config.steps; ++i) {
    watch(i, x);
    const at::Tensor from = ofStep(all.timesteps, i), to = ofStep(all.next, i);
    SamplerStep step{i, x, schedule.at(from), schedule.at(to), denoiser({x, from})};
    if (config.clip) step.estimate.x0 = step.estimate.x0.clamp(-1, 1);
    at::Tensor next = advance(step);
    // An image that stops within fewer timesteps than there are steps has steps that go nowhere: it stays as it is.
    if (stop.defined()) next = at::where((to == from).view({-1, 1, 1, 1}), x, next);
    x = next;
  }
  return x;
}

}  // namespace continual
