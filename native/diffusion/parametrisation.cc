#include "diffusion/parametrisation.h"

#include <algorithm>
#include <array>
#include <limits>

#include "runtime/error.h"

namespace continual {

namespace {

/// √square as a divisor that is never 0.
at::Tensor divisor(const at::Tensor& square, double tiny) {
  return tiny > 0 ? (square + tiny).sqrt() : square.clamp_min(std::numeric_limits<float>::min()).sqrt();
}

// The standard deviation of images' pixels that EDM assumes: σ_data of arXiv 2206.00364.
constexpr double dataVariance = 0.5 * 0.5;

/// α²·σ_data² + σ²: the variance of x_t's pixels.
at::Tensor pixelVariance(const Levels& at) { return at.alpha2 * dataVariance + at.sigma2; }

// min-SNR's weights are written so that SNR = α²/σ² = 0 (weight 1 for ε, by its limit) and SNR = ∞ need no special
// case.
at::Tensor minSnrOfVelocity(const Levels& at, double gamma) { return at::minimum(at.alpha2, gamma * at.sigma2); }

const std::array<Parametrisation, 5> all{{
    {"epsilon", [](const Levels&, const at::Tensor&, const at::Tensor& noise) { return noise; },
     [](const Levels& at, const at::Tensor& xt, const at::Tensor& prediction, double tiny) {
       return Estimate{(xt - at.sigma * prediction) / divisor(at.alpha2, tiny), prediction};
     },
     [](const Levels& at, double gamma) {
       return at::minimum(at::ones_like(at.alpha2), gamma * at.sigma2 / at.alpha2);
     }},
    {"sample", [](const Levels&, const at::Tensor& x0, const at::Tensor&) { return x0; },
     [](const Levels& at, const at::Tensor& xt, const at::Tensor& prediction, double tiny) {
       return Estimate{prediction, (xt - at.alpha * prediction) / divisor(at.sigma2, tiny)};
     },
     [](const Levels& at, double gamma) { return (at.alpha2 / at.sigma2).clamp_max(gamma); }},
    {"v",
     [](const Levels& at, const at::Tensor& x0, const at::Tensor& noise) { return at.alpha * noise - at.sigma * x0; },
     [](const Levels& at, const at::Tensor& xt, const at::Tensor& prediction, double) {
       return Estimate{at.alpha * xt - at.sigma * prediction, at.alpha * prediction + at.sigma * xt};
     },
     minSnrOfVelocity},
    // Of the straight path α + σ = 1 (arXiv 2209.03003).
    {"flow", [](const Levels&, const at::Tensor& x0, const at::Tensor& noise) { return noise - x0; },
     [](const Levels& at, const at::Tensor& xt, const at::Tensor& prediction, double) {
       return Estimate{xt - at.sigma * prediction, xt + at.alpha * prediction};
     },
     minSnrOfVelocity},
    // F of EDM's preconditioning (arXiv 2206.00364, table 1), which has c_in·x_t/α as its input.
    {"edm",
     [](const Levels& at, const at::Tensor& x0, const at::Tensor& noise) {
       // (x₀ − c_skip·x_t/α) / c_out, multiplied out so that nothing is divided by σ or α.
       return (at.sigma * x0 - dataVariance * at.alpha * noise) / (dataVariance * pixelVariance(at)).sqrt();
     },
     [](const Levels& at, const at::Tensor& xt, const at::Tensor& prediction, double tiny) {
       const at::Tensor variance = pixelVariance(at);
       const at::Tensor x0 =
           dataVariance * at.alpha / variance * xt + at.sigma * (dataVariance / variance).sqrt() * prediction;
       return Estimate{x0, (xt - at.alpha * x0) / divisor(at.sigma2, tiny)};
     },
     [](const Levels& at, double gamma) {
       return at::minimum(at.alpha2, gamma * at.sigma2) * dataVariance / pixelVariance(at);
     },
     [](const Levels& at) { return pixelVariance(at).rsqrt(); }},
}};

}  // namespace

const Parametrisation& parametrisation(const std::string& name) {
  const auto* found = std::find_if(all.begin(), all.end(), [&](const Parametrisation& p) { return name == p.name; });
  if (found == all.end()) throw Error("ERR_INVALID_ARGUMENT", "prediction: unknown value '" + name + "'");
  return *found;
}

}  // namespace continual
