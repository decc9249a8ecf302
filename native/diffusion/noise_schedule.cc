#include "diffusion/noise_schedule.h"

#include <limits>

namespace continual {

namespace {

/// σ/α at each timestep, finite: for ᾱ = 0 stands 2⁻²⁴, and for α = 0 on a straight path 10⁻⁶, as in diffusers'
/// schedulers that count in σ/α; or the smallest of the others where several were too small for float32.
at::Tensor ratios(const ScheduleTable& table) {
  const at::Tensor alpha2 = table.alpha2.to(at::kDouble), sigma2 = table.sigma2.to(at::kDouble);
  const auto with = [&](double square) {
    const at::Tensor none = alpha2 == 0;
    if (none.sum().item<int64_t>() > 1) square = alpha2.masked_fill(none, 1).min().item<double>();
    return alpha2.masked_fill(none, square);
  };
  if (!table.straight) {
    const at::Tensor finite = with(1.0 / (1 << 24));
    return (at::where(alpha2 == 0, 1 - finite, sigma2) / finite).sqrt();
  }
  const at::Tensor alpha = with(1e-12).sqrt();
  return at::where(alpha2 == 0, 1 - alpha, sigma2.sqrt()) / alpha;
}

/// Of a table of T numbers, in the shape of the index.
at::Tensor entries(const at::Tensor& table, const at::Tensor& index) {
  return table.gather(0, index.flatten()).view_as(index);
}

/// Linear interpolation in a table of T numbers.
at::Tensor between(const at::Tensor& table, const at::Tensor& timesteps) {
  const at::Tensor at = timesteps.to(at::kDouble).clamp(0, static_cast<double>(table.size(0) - 1));
  const at::Tensor low = at.floor().clamp_max(static_cast<double>(table.size(0) - 2));
  const at::Tensor index = low.to(at::kLong);
  return at::lerp(entries(table, index), entries(table, index + 1), at - low);
}

Levels levels(const at::Tensor& columns) {
  return {columns.select(0, 0), columns.select(0, 1), columns.select(0, 2), columns.select(0, 3)};
}

}  // namespace

NoiseSchedule::NoiseSchedule(const ScheduleTable& table, at::Device device) : straight_(table.straight) {
  const at::Tensor squares =
      at::stack({at::cat({at::ones({1}), table.alpha2}), at::cat({at::zeros({1}), table.sigma2})}).to(device);
  table_ = at::cat({squares.sqrt(), squares});
  ratio_ = ratios(table).to(device);
  if (table.told.defined()) told_ = table.told.to(device, at::kDouble);
}

Levels NoiseSchedule::at(const at::Tensor& timesteps) const {
  if (timesteps.is_floating_point()) return ofRatio(ratioAt(timesteps));
  return levels(table_.gather(1, (timesteps + 1).expand({4, -1})).view({4, -1, 1, 1, 1}));
}

at::Tensor NoiseSchedule::addNoise(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const {
  const Levels at = this->at(timesteps);
  return at.alpha * x0 + at.sigma * noise;
}

at::Tensor NoiseSchedule::told(const at::Tensor& timesteps) const {
  if (!told_.defined()) return timesteps;
  return (timesteps.is_floating_point() ? between(told_, timesteps) : entries(told_, timesteps)).to(at::kFloat);
}

at::Tensor NoiseSchedule::ratioAt(const at::Tensor& timesteps) const {
  if (!straight_) return between(ratio_, timesteps);
  const at::Tensor sigma = between(ratio_ / (1 + ratio_), timesteps);
  return sigma / (1 - sigma);
}

at::Tensor NoiseSchedule::timestepOf(const at::Tensor& ratio) const {
  const at::Tensor logs = ratio_.log(), log = ratio.log();
  const at::Tensor low =
      (at::searchsorted(logs, log.contiguous(), /*out_int32=*/false, /*right=*/true) - 1).clamp(0, timesteps() - 2);
  const at::Tensor from = entries(logs, low), to = entries(logs, low + 1);
  // Where float32 has no number so small as ᾱ, several timesteps have the same.
  return low + ((log - from) / (to - from).clamp_min(std::numeric_limits<double>::min())).clamp(0, 1);
}

Levels NoiseSchedule::ofRatio(const at::Tensor& ratio) const {
  const at::Tensor alpha = straight_ ? 1 / (1 + ratio) : (1 + ratio.square()).rsqrt(), sigma = ratio * alpha;
  return levels(at::stack({alpha, sigma, alpha.square(), sigma.square()}).to(at::kFloat).view({4, -1, 1, 1, 1}));
}

}  // namespace continual
