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
      draws.front().timesteps.size(0), objective.terms.size(),
      [&](int64_t first, int64_t length, const Weights& weights) {
        std::vector<Draws> part;
        for (const Draws& whole : draws) {
          part.push_back(whole.with([&](const at::Tensor& t, int64_t dim) { return t.narrow(dim, first, length); }));
        }
        return objectiveLoss(model_, objective, part, weights, teacher, cancellation);
      },
      objective.penalties, turns, cancellation);
}

Losses TrainingStep::compute(const ModelInput& input, const at::Tensor& target, const at::Tensor& weight,
                             const Cancellation& cancellation) {
  const int64_t begin = group_.begin(target.size(0));
  return backward(
      group_.length(target.size(0)), 1,
      [&](int64_t first, int64_t length, const Weights& weights) -> TermLosses {
        const auto cut = [&](const at::Tensor& t) { return t.narrow(0, begin + first, length); };
        const auto some = [&](const at::Tensor& t) { return t.defined() ? cut(t) : t; };
        const at::Tensor prediction = model_.predict(weights, {cut(input.xt), cut(input.timesteps), some(input.labels),
                                                               some(input.told), some(input.dropoutKeys)});
        const at::Tensor error = (prediction - cut(target)).square().flatten(1).mean(1);
        const at::Tensor total = (error * cut(weight)).mean();
        return {total, total.unsqueeze(0)};
      },
      {}, 1, cancellation);
}

TermLosses TrainingStep::differentiate(int64_t count, size_t terms, const Part& part, int64_t turns) {
  if (count == 0) {  // of a batch that has fewer images than there are processes
    state_.gradient.flat().zero_();
    const at::Tensor none = at::zeros({static_cast<int64_t>(terms)}, state_.student.master.options());
    return {none.sum(), none};
  }
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
  return sums[0];
}

Losses TrainingStep::backward(int64_t count, size_t terms, const Part& part, const std::vector<Penalty>& penalties,
                              int64_t turns, const Cancellation& cancellation) {
  const PrecisionScope precision(model_.how);
  TermLosses losses;
  try {
    losses = differentiate(count, terms, part, turns);
  } catch (const Cancelled&) {
    stop(terms, cancellation);
    throw;
  } catch (...) {
    stop(terms, cancellation, Standing::failed);
    throw;
  }
  const c10::NoGradGuard noGrad;
  if (group_.size > 1) reduce(count, losses, cancellation);
  const at::Tensor &weights = state_.student.master, &gradient = state_.gradient.flat();
  const std::vector<Penalties::Cost> costs = state_.penalties.costs(penalties, weights, team_);
  std::vector<at::Tensor> values;
  for (const Penalties::Cost& cost : costs) {
    values.push_back(cost.value.to(at::kFloat));
    losses.total += values.back() * cost.strength;
  }
  const at::Tensor squares = sumOverRanges(team_, weights.numel(), [&](int64_t begin, int64_t end) {
    const at::Tensor sum = gradient.slice(0, begin, end);
    if (state_.path) state_.path.gradient.slice(0, begin, end).copy_(sum);
    Penalties::addGradient(costs, weights, gradient, begin, end);
    return gradientNorm(sum).square();
  });
  state_.gradNorm = squares.sqrt();
  const at::Tensor none = at::empty({0}, losses.terms.options());
  return {losses.total, losses.terms, values.empty() ? none : at::stack(values), state_.gradNorm};
}

void TrainingStep::reduce(int64_t count, TermLosses& losses, const Cancellation& cancellation) {
  const at::Tensor own = at::cat({at::ones({1}, losses.terms.options()), losses.total.view({1}), losses.terms});
  const at::Tensor sums =
      group_.agree(Standing::sound, own.to(at::kDouble) * static_cast<double>(count), cancellation, own.is_cpu());
  const at::Tensor means = (sums / sums[0]).to(losses.terms.scalar_type());
  losses = {means[1], means.slice(0, 2)};
  const at::Tensor& gradient = state_.gradient.flat();
  gradient.mul_((static_cast<double>(count) / sums[0]).to(gradient.scalar_type()));
  group_.sumGradient(gradient, cancellation);
}

void TrainingStep::stop(size_t terms, const Cancellation& cancellation, Standing standing) {
  if (group_.size == 1) return;
  try {
    group_.agree(standing, nothing(terms), cancellation, false);
  } catch (const Error&) {  // the others have failed, too
  } catch (const Cancelled&) {
  }
}

int64_t TrainingStep::agree(size_t terms, int64_t number, const Cancellation& cancellation) {
  const at::Tensor told = nothing(terms);
  if (group_.rank == 0) told[0].fill_(static_cast<double>(number));
  return group_.agree(Standing::sound, told, cancellation, true)[0].item<int64_t>();
}

at::Tensor TrainingStep::nothing(size_t terms) const {
  return at::zeros({static_cast<int64_t>(terms) + 2}, state_.student.master.options().dtype(at::kDouble));
}

void TrainingStep::update(const OptimizerConfig& optimizer) {
  if (!state_.gradNorm.defined()) {
    throw Error("ERR_INVALID_ARGUMENT", "there is no gradient to apply: compute comes before update");
  }
  WeightSet& student = state_.student;
  Path& path = state_.path;
  state_.adam.begin();
  overRanges(team_, model_.layout().trained(), [&](int64_t begin, int64_t end) {
    const auto part = [&](const at::Tensor& t) { return t.slice(0, begin, end); };
    if (path) part(path.before).copy_(part(student.master));
    state_.adam.update(student.master, state_.gradient.flat(), state_.gradNorm, optimizer, begin, end);
    student.refresh(begin, end);
    if (path) part(path.integral).addcmul_(part(path.gradient), part(student.master) - part(path.before), -1);
    state_.average(begin, end);
  });
  state_.gradNorm.reset();
}

}  // namespace continual
