#include <algorithm>

#include "diffusion/samplers/sampler.h"

namespace continual {

namespace {

// From the first σ/α of a trajectory to the last, evenly in its 7th root.
at::Tensor karras(const at::Tensor& largest, const at::Tensor& smallest, int64_t steps) {
  constexpr double rho = 7;
  const at::Tensor ramp = at::linspace(0, 1, steps, largest.options()).unsqueeze(1);
  return at::lerp(largest.pow(1 / rho), smallest.pow(1 / rho), ramp).pow(rho);
}

}  // namespace

Timesteps samplerTimesteps(const NoiseSchedule& schedule, const SamplerConfig& config, const at::Tensor& stop) {
  const Sampler& sampler = *config.sampler;
  const int64_t total = schedule.timesteps(), last = total - 1, steps = config.steps;
  const bool dropsOne = sampler.multistep && config.spacing != Spacing::trailing;
  const int64_t points = dropsOne ? steps + 1 : steps;
  const at::Tensor end = stop.to(at::kDouble), span = total - end, jump = span.div(points, "floor");
  const at::Tensor left = at::arange(points, points - steps, -1, end.options()).unsqueeze(1);
  at::Tensor timesteps;
  switch (config.spacing) {
    case Spacing::trailing:  // rounds half to even, as NumPy does
      timesteps = (span * left / static_cast<double>(steps)).round() - 1 + end;
      break;
    case Spacing::leading:
      timesteps = ((left - 1) * jump + end + config.offset).clamp_max(static_cast<double>(last));
      break;
    case Spacing::linspace: {
      const double between = static_cast<double>(std::max<int64_t>(points - 1, 1));
      if (schedule.isStraight() && !sampler.multistep) {
        // As in diffusers: down to T · σ of the first timestep; a single one is the last.
        timesteps = at::lerp(at::full_like(end, static_cast<double>(last)),
                             at::maximum(total / (1 + 1 / schedule.ratioAt(end)) - 1, end), (points - left) / between);
      } else {
        timesteps = (left - 1) * ((last - end) / between) + end;  // as NumPy's linspace rounds
      }
      if (!sampler.countsInRatio || sampler.multistep) timesteps = timesteps.round();
      break;
    }
  }
  at::Tensor ratios;
  if (sampler.countsInRatio) {
    if (config.karras) {
      const at::Tensor whole = at::stack({at::full_like(end, static_cast<double>(last)), end});
      const at::Tensor range = schedule.ratioAt(sampler.multistep ? whole : timesteps);
      ratios = karras(range.select(0, 0), range.select(0, range.size(0) - 1), steps);
      timesteps = schedule.timestepOf(ratios);
      if (sampler.multistep) timesteps = timesteps.round();
    } else {
      ratios = schedule.ratioAt(timesteps);
    }
  }
  at::Tensor next =
      sampler.jumps ? timesteps - jump : at::cat({timesteps.slice(0, 1), (end - 1).unsqueeze(0).expand({1, -1})});
  next = at::maximum(next, config.endsAtFirst ? (end - 1).clamp_min(0) : end - 1);
  return {timesteps, next, ratios};
}

}  // namespace continual
