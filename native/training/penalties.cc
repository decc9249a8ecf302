#include "training/penalties.h"

#include <utility>

#include "runtime/error.h"
#include "training/ranges.h"

namespace continual {

std::vector<Penalties::Cost> Penalties::costs(const std::vector<Penalty>& penalties, const at::Tensor& weights,
                                              Team& team) const {
  std::vector<Cost> result;
  for (const Penalty& penalty : penalties) {
    const auto found = kept_.find(penalty.name);
    if (found == kept_.end()) {
      throw Error("ERR_INVALID_ARGUMENT",
                  "the objective has the penalty '" + penalty.name + "', but nothing was consolidated for it");
    }
    Cost cost{&found->second, penalty.strength, {}, {}};
    for (const Quadratic& part : found->second.parts) {
      // In float64: over tens of millions of small numbers, float32 would lose most of its digits.
      const at::Tensor sum = sumOverRanges(team, weights.numel(), [&](int64_t begin, int64_t end) {
        const at::Tensor delta = weights.slice(0, begin, end) - part.anchor.slice(0, begin, end);
        const at::Tensor importance = part.importance.slice(0, begin, end);
        const at::Tensor square = found->second.shape == Shape::diagonal ? delta * delta : delta;
        return (importance * square).sum(at::kDouble);
      });
      at::Tensor value = sum;
      if (found->second.shape == Shape::rankOne) {
        cost.projections.push_back(sum.to(at::kFloat));
        value = sum.square();
      }
      cost.value = cost.value.defined() ? cost.value + value * 0.5 : value * 0.5;
    }
    result.push_back(std::move(cost));
  }
  return result;
}

void Penalties::addGradient(const std::vector<Cost>& costs, const at::Tensor& weights, const at::Tensor& gradient,
                            int64_t begin, int64_t end) {
  at::Tensor target = gradient.slice(0, begin, end);
  for (const Cost& cost : costs) {
    for (size_t i = 0; i < cost.kept->parts.size(); ++i) {
      const Quadratic& part = cost.kept->parts[i];
      const at::Tensor importance = part.importance.slice(0, begin, end);
      if (cost.kept->shape == Shape::rankOne) {
        target.addcmul_(importance, cost.projections[i], cost.strength);
      } else {
        target.addcmul_(importance, weights.slice(0, begin, end) - part.anchor.slice(0, begin, end), cost.strength);
      }
    }
  }
}

Consolidated Penalties::after(const Consolidation& consolidation, const at::Tensor& anchor,
                              const at::Tensor& importance) const {
  const auto found = kept_.find(consolidation.name);
  Consolidated result{consolidation.shape(), {}};
  if (found != kept_.end()) {
    if (found->second.shape != result.shape) {
      throw Error("ERR_INVALID_ARGUMENT",
                  "what is kept for the penalty '" + consolidation.name + "' has another shape than the consolidation");
    }
    result.parts = found->second.parts;
  }
  at::Tensor total = importance;
  if (consolidation.decay) {
    for (const Quadratic& part : result.parts) total = total + part.importance * *consolidation.decay;
    result.parts.clear();
  }
  // The path may have led uphill; a negative importance would reward every deviation.
  if (consolidation.estimate == Importance::pathIntegral) total = total.clamp_min(0);
  result.parts.push_back({anchor, total});
  return result;
}

void Penalties::add(const std::string& name, Shape shape, Quadratic part) {
  const auto found = kept_.find(name);
  if (found != kept_.end() && found->second.shape != shape) {
    throw Error("ERR_INVALID_ARGUMENT", "the parts of the penalty '" + name + "' have different shapes");
  }
  Consolidated& kept = kept_[name];
  kept.shape = shape;
  kept.parts.push_back(std::move(part));
}

int64_t Penalties::bytes() const {
  int64_t total = 0;
  for (const auto& [name, kept] : kept_) {
    for (const Quadratic& part : kept.parts) total += static_cast<int64_t>(part.anchor.nbytes()) * 2;
  }
  return total;
}

void Path::begin(const at::Tensor& weights) {
  start = weights.clone();
  integral = at::zeros_like(weights);
  gradient = at::empty_like(weights);
  before = at::empty_like(weights);
}

int64_t Path::bytes() const { return start.defined() ? static_cast<int64_t>(start.nbytes()) * 4 : 0; }

}  // namespace continual
