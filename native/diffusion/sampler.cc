#include "diffusion/sampler.h"

#include <cmath>

namespace continual {

Timesteps samplerTimesteps(int64_t total, const SamplerConfig& sampler, int64_t stop) {
  const int64_t span = total - stop, steps = sampler.steps, jump = span / steps;
  Timesteps result;
  for (int64_t i = 0; i < steps; ++i) {
    int64_t t = 0;
    if (sampler.spacing == Spacing::trailing) {
      // Rounds half to even, as NumPy does.
      const double fromStop = static_cast<double>(span) * static_cast<double>(steps - i) / static_cast<double>(steps);
      t = static_cast<int64_t>(std::nearbyint(fromStop)) - 1 + stop;
    } else {
      t = (steps - 1 - i) * jump + stop;
    }
    result.timesteps.push_back(t);
    result.previous.push_back(std::max<int64_t>(t - jump, stop - 1));
  }
  return result;
}

at::Tensor samplerStep(const NoiseSchedule& schedule, const SamplerConfig& sampler, const at::Tensor& xt,
                       const at::Tensor& answer, const SamplerStep& step, const at::Tensor& noise) {
  auto [x0, epsilon] = schedule.estimate(xt, answer, step.timesteps);
  if (sampler.clip) x0 = x0.clamp(-1, 1);
  const at::Tensor alpha = schedule.alphaCumprod(step.timesteps), previous = schedule.alphaCumprod(step.previous);

  if (sampler.kind == SamplerKind::ddpm) {  // arXiv 2006.11239, equation 7, for any spacing of the steps
    const at::Tensor stepAlpha = alpha / previous, stepBeta = 1 - stepAlpha;
    const at::Tensor mean = (previous.sqrt() * stepBeta * x0 + stepAlpha.sqrt() * (1 - previous) * xt) / (1 - alpha);
    const at::Tensor variance = (1 - previous) / (1 - alpha) * stepBeta;  // 0 where it goes to the clean image
    return mean + variance.sqrt() * noise;
  }

  // arXiv 2010.02502, equations 12 and 16. ε̂ is not derived again from the clipped x̂₀, and 1e-8 is added to ᾱ, as in
  // the paper's code.
  const at::Tensor variance =
      (1 - previous) / (1 - alpha) * (1 - alpha / (previous + 1e-8)) * (sampler.eta * sampler.eta);
  const at::Tensor mean = previous.sqrt() * x0 + (1 - previous - variance).clamp(0, 1).sqrt() * epsilon;
  return sampler.eta > 0 ? mean + variance.sqrt() * noise : mean;
}

at::Tensor sample(const NoiseSchedule& schedule, const SamplerConfig& sampler, const Denoiser& denoiser, at::Tensor x,
                  const StepNoise& noise, const at::Tensor& stop, const Cancellation& cancellation) {
  const int64_t count = x.size(0), total = schedule.config().timesteps;
  std::vector<Timesteps> plans;  // one for all images, or one each
  if (stop.defined()) {
    const at::Tensor stops = stop.to(at::kCPU, at::kLong).contiguous();
    for (int64_t i = 0; i < count; ++i) {
      plans.push_back(samplerTimesteps(total, sampler, stops.const_data_ptr<int64_t>()[i]));
    }
  } else {
    plans.push_back(samplerTimesteps(total, sampler));
  }

  // Steps × images, moved to the device once.
  const auto table = [&](std::vector<int64_t> Timesteps::* values) {
    std::vector<at::Tensor> columns;
    for (const Timesteps& plan : plans) columns.push_back(at::tensor(plan.*values, at::kLong));
    return at::stack(columns, 1).to(x.device()).expand({sampler.steps, count});
  };
  const at::Tensor timesteps = table(&Timesteps::timesteps), previous = table(&Timesteps::previous);
  for (int64_t i = 0; i < sampler.steps; ++i) {
    cancellation.check();
    const SamplerStep step{timesteps.select(0, i), previous.select(0, i)};
    at::Tensor next =
        samplerStep(schedule, sampler, x, denoiser(x, step.timesteps), step, sampler.noisy() ? noise(i) : at::Tensor());
    // An image that stops within fewer timesteps than there are steps has steps that go nowhere: it stays as it is.
    if (stop.defined()) next = at::where((step.previous == step.timesteps).view({-1, 1, 1, 1}), x, next);
    x = next;
  }
  return x;
}

}  // namespace continual
