#include "diffusion/sampler.h"

namespace continual {

Timesteps samplerTimesteps(int64_t total, const SamplerConfig& sampler, const at::Tensor& stop) {
  const at::Tensor span = total - stop, jump = span.div(sampler.steps, "floor");
  const at::Tensor left = at::arange(sampler.steps, 0, -1, stop.options()).unsqueeze(1);  // S, S − 1, … 1
  const at::Tensor timesteps =
      sampler.spacing == Spacing::trailing
          // Rounds half to even, as NumPy does.
          ? (span.to(at::kDouble) * left / static_cast<double>(sampler.steps)).round().to(at::kLong) - 1 + stop
          : (left - 1) * jump + stop;
  return {timesteps, at::maximum(timesteps - jump, stop - 1)};
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
  // One column for all images, or one each.
  const at::Tensor stops = stop.defined() ? stop : at::zeros({1}, x.options().dtype(at::kLong));
  const Timesteps all = samplerTimesteps(schedule.config().timesteps, sampler, stops);
  const auto ofStep = [&](const at::Tensor& t, int64_t i) { return t.select(0, i).expand({x.size(0)}); };
  for (int64_t i = 0; i < sampler.steps; ++i) {
    cancellation.check();
    const SamplerStep step{ofStep(all.timesteps, i), ofStep(all.previous, i)};
    at::Tensor next =
        samplerStep(schedule, sampler, x, denoiser(x, step.timesteps), step, sampler.noisy() ? noise(i) : at::Tensor());
    // An image that stops within fewer timesteps than there are steps has steps that go nowhere: it stays as it is.
    if (stop.defined()) next = at::where((step.previous == step.timesteps).view({-1, 1, 1, 1}), x, next);
    x = next;
  }
  return x;
}

}  // namespace continual
