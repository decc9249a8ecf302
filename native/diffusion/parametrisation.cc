#include "diffusion/parametrisation.h"

#include <algorithm>
#include <array>

#include "runtime/error.h"

namespace continual {

namespace {

// Keeps x̂₀ finite where α = 0; the value is part of the reference's DDIM.
constexpr double tiny = 1e-8;

// min-SNR's weights are written so that SNR = α²/σ² = 0 (weight 1 for ε, by its limit) and SNR = ∞ need no special
// case.
const std::array<Parametrisation, 3> all{{
    {"epsilon", [](const Levels&, const at::Tensor&, const at::Tensor& noise) { return noise; },
     [](const Levels& at, const at::Tensor& xt, const at::Tensor& prediction) {
       return Estimate{(xt - at.sigma * prediction) / (at.alpha2 + tiny).sqrt(), prediction};
     },
     [](const Levels& at, double gamma) {
       return at::minimum(at::ones_like(at.alpha2), gamma * at.sigma2 / at.alpha2);
     }},
    {"sample", [](const Levels&, const at::Tensor& x0, const at::Tensor&) { return x0; },
     [](const Levels& at, const at::Tensor& xt, const at::Tensor& prediction) {
       return Estimate{prediction, (xt - at.alpha * prediction) / (at.sigma2 + tiny).sqrt()};
     },
     [](const Levels& at, double gamma) { return (at.alpha2 / at.sigma2).clamp_max(gamma); }},
    {"v",
     [](const Levels& at, const at::Tensor& x0, const at::Tensor& noise) { return at.alpha * noise - at.sigma * x0; },
     [](const Levels& at, const at::Tensor& xt, const at::Tensor& prediction) {
       return Estimate{at.alpha * xt - at.sigma * prediction, at.alpha * prediction + at.sigma * xt};
     },
     [](const Levels& at, double gamma) { return at::minimum(at.alpha2, gamma * at.sigma2); }},
}};

}  // namespace

const Parametrisation& parametrisation(const std::string& name) {
  const auto* found = std::find_if(all.begin(), all.end(), [&](const Parametrisation& p) { return name == p.name; });
  if (found == all.end()) throw Error("ERR_INVALID_ARGUMENT", "prediction: unknown value '" + name + "'");
  return *found;
}

}  // namespace continual
