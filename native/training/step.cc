#include "training/step.h"

#include <c10/core/GradMode.h>

#include "runtime/error.h"
#include "training/ranges.h"

namespace continual {

void TrainingStep::requireTeacher(const Objective& objective) const {
  if (!objective.needsTeacher() || state_.teacher) return;
  throw Error("ERR_INVALID_ARGUMENT", "the objective has a teacher, but none was frozen: learn a task first");
}

Losses TrainingStep::compute(const Objective& objective, const std::vector<Draws>& draws,
                             const Cancellation& cancellation, int64_t turns) {
  requireTeacher(objective);
  const Weights* teacher = state_.teacher ? &state_.teacher->views : nullptr;
  return backward(
      draws.front().timesteps.size(0),
      [&](int64_t first, int64_t length, const Weights& weights) {
        std::vector<Draws> part;
        for (const Draws& whole : draws) {
          part.push_back(whole.with([&](const at::Tensor& t, int64_t dim) { return t.narrow(dim, first, length); }));
        }
        return objectiveLoss(model_, objective, part, weights, teacher, cancellation);
      },
      objective.penalties, turns);
}

Losses TrainingStep::compute(const ModelInput& input, const at::Tensor& target, const at::Tensor& weight) {
  const int64_t begin = group_.begin(target.size(0));
  return backward(
      group_.length(target.size(0)),
      [&](int64_t first, int64_t length, const Weights& weights) -> TermLosses {
        const auto cut = [&](const at::Tensor& t) { return t.narrow(0, begin + first, length); };
        const at::Tensor prediction = model_.predict(
            weights, {cut(input.xt), cut(input.timesteps), input.labels.defined() ? cut(input.labels) : at::Tensor()});
        const at::Tensor error = (prediction - cut(target)).square().flatten(1).mean(1);
        const at::Tensor total = (error * cut(weight)).mean();
        return {total, total.unsqueeze(0)};
      },
      {});
}

Losses TrainingStep::backward(int64_t count, const Part& part, const std::vector<Penalty>& penalties, int64_t turns) {
  if (count < 1) throw Error("ERR_INVALID_ARGUMENT", "a batch needs at least one image for each process");
  const PrecisionScope precision(model_.how);
  const int64_t parts = std::min(team_.size() * turns, count), members = std::min(team_.size(), parts);
  std::vector<TermLosses> sums(static_cast<size_t>(parts));
  state_.gradient.begin(parts);
  team_.run(members, [&](int64_t member) {
    for (int64_t i = member; i < parts; i += members) {
      const int64_t first = count * i / parts, length = count * (i + 1) / parts - first;
      const double share = static_cast<double>(length) / static_cast<double>(count);
      state_.gradient.add(i, state_.student.views, [&](const Weights& weights) {
        const TermLosses own = part(first, length, weights);
        const at::Tensor total = own.total * share;
        sums[static_cast<size_t>(i)] = {total.detach(), own.terms.detach() * share};
        return total;
      });
    }
  });

  const c10::NoGradGuard noGrad;
  for (int64_t i = 1; i < parts; ++i) {
    sums[0].total += sums[static_cast<size_t>(i)].total;
    sums[0].terms += sums[static_cast<size_t>(i)].terms;
  }
  if (group_.size > 1) reduce(count, sums[0]);
  const at::Tensor &weights = state_.student.master, &gradient = state_.gradient.flat();
  const std::vector<Penalties::Cost> costs = state_.penalties.costs(penalties, weights, team_);
  std::vector<at::Tensor> values;
  for (const Penalties::Cost& cost : costs) {
    values.push_back(cost.value.to(at::kFloat));
    sums[0].total += values.back() * cost.strength;
  }
  const at::Tensor squares = sumOverRanges(team_, weights.numel(), [&](int64_t begin, int64_t end) {
    const at::Tensor sum = gradient.slice(0, begin, end);
    if (state_.path) state_.path.gradient.slice(0, begin, end).copy_(sum);
    Penalties::addGradient(costs, weights, gradient, begin, end);
    return gradientNorm(sum).square();
  });
  state_.gradNorm = squares.sqrt();
  const at::Tensor none = at::empty({0}, sums[0].terms.options());
  return {sums[0].total, sums[0].terms, values.empty() ? none : at::stack(values), state_.gradNorm};
}

void TrainingStep::reduce(int64_t count, TermLosses& losses) {
  // The first of all, so that shares of different lengths count by them.
  const at::Tensor images = at::full({1}, static_cast<double>(count), losses.terms.options());
  group_.sum(images);
  const at::Tensor share = count / images;
  const at::Tensor scalars = at::cat({losses.total.view({1}), losses.terms}) * share;
  group_.sum(scalars);
  losses = {scalars[0], scalars.slice(0, 1)};
  state_.gradient.flat().mul_(share);
  group_.sum(state_.gradient.flat());
}

void TrainingStep::update(const OptimizerConfig& optimizer) {
  if (!state_.gradNorm.defined()) {
    throw Error("ERR_INVALID_ARGUMENT", "there is no gradient to apply: compute comes before update");
  }
  WeightSet& student = state_.student;
  Path& path = state_.path;
  state_.adam.begin();
  overRanges(team_, student.master.numel(), [&](int64_t begin, int64_t end) {
    const auto part = [&](const at::Tensor& t) { return t.slice(0, begin, end); };
    if (path) part(path.before).copy_(part(student.master));
    state_.adam.update(student.master, state_.gradient.flat(), state_.gradNorm, optimizer, begin, end);
    student.refresh(begin, end);
    if (path) part(path.integral).addcmul_(part(path.gradient), part(student.master) - part(path.before), -1);
    if (state_.ema) {
      part(state_.ema->master).lerp_(part(student.master), 1 - state_.emaDecay());
      state_.ema->refresh(begin, end);
    }
  });
  state_.gradNorm.reset();
}

}  // namespace continual
