#include "training/importance.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "runtime/error.h"

namespace continual {

namespace {

/// Estimates from the gradients of single samples.
class Samples {
 public:
  Samples(const DiffusionModel& model, ModelState& state, Team& team, const Group& group, const Draws& draws,
          const Cancellation& cancellation)
      : model_(model), state_(state), team_(team), group_(group), draws_(draws), cancellation_(cancellation) {}

  /// Means over the samples of what `add(gradient, sum)` adds to a member's sum.
  at::Tensor mean(at::IntArrayRef shape, at::ScalarType dtype,
                  const std::function<void(const at::Tensor& gradient, const at::Tensor& sum)>& add) const {
    const PrecisionScope precision(model_.how);
    const int64_t count = draws_.x0.size(0), first = group_.begin(count), own = group_.length(count);
    const int64_t parts = std::clamp<int64_t>(own, 1, team_.size());  // none of its own: a sum of nothing
    std::vector<at::Tensor> sums(static_cast<size_t>(parts));
    team_.run(parts, [&](int64_t member) {
      GradientSum gradient(model_.layout(), state_.student.master);  // of one sample at a time
      at::Tensor& sum = sums[static_cast<size_t>(member)];
      sum = at::zeros(shape, state_.student.master.options().dtype(dtype));
      for (int64_t i = first + own * member / parts; i < first + own * (member + 1) / parts; ++i) {
        cancellation_.check();
        const Draws one = draws_.with([i](const at::Tensor& t, int64_t images) { return t.narrow(images, i, 1); });
        const at::Tensor &x0 = one.x0, &noise = one.noise, &t = one.timesteps;
        gradient.begin(1);
        gradient.add(0, state_.student.views, [&](const Weights& weights) {
          const at::Tensor prediction =
              model_.predict(weights, {model_.schedule.addNoise(x0, noise, t), t, one.labels});
          return model_.loss(Loss{}, prediction, model_.target(x0, noise, t), t);
        });
        const c10::NoGradGuard noGrad;
        add(gradient.flat(), sum);
      }
    });
    const c10::NoGradGuard noGrad;
    for (int64_t member = 1; member < parts; ++member) sums[0].add_(sums[static_cast<size_t>(member)]);
    if (group_.size > 1) group_.sum(sums[0], cancellation_);
    return sums[0].div_(static_cast<double>(count));
  }

 private:
  const DiffusionModel& model_;
  ModelState& state_;
  Team& team_;
  const Group& group_;
  const Draws& draws_;
  const Cancellation& cancellation_;
};

at::Tensor fromPath(const ModelState& state, const Consolidation& c) {
  if (!state.path) {
    throw Error("ERR_INVALID_ARGUMENT", "the penalty '" + c.name +
                                            "' needs the path that the weights took through the task, and none was "
                                            "followed");
  }
  const c10::NoGradGuard noGrad;
  return state.path.integral / ((state.student.master - state.path.start).square() + c.damping);
}

at::Tensor fromGradients(const Samples& samples, int64_t total, const Consolidation& c) {
  if (c.estimate == Importance::squaredGradients) {
    const auto square = [](const at::Tensor& gradient, const at::Tensor& sum) { sum.addcmul_(gradient, gradient); };
    return samples.mean({total}, at::kFloat, square);
  }
  const auto self = [](const at::Tensor& gradient, const at::Tensor& sum) { sum.add_(gradient); };
  const at::Tensor mean = samples.mean({total}, at::kFloat, self);
  const at::Tensor length = gradientNorm(mean);
  if (!c.optimal || length.item<double>() == 0) return mean;
  // min over f of ‖F − f·mean·meanᵀ‖, F the mean of g·gᵀ: f = meanᵀ·F·mean / ‖mean‖⁴.
  const auto projected = [&](const at::Tensor& gradient, const at::Tensor& sum) {
    sum.add_((gradient * mean).sum(at::kDouble).square());
  };
  const at::Tensor along = samples.mean({}, at::kDouble, projected);
  return mean.mul_((along.sqrt() / length.square()).to(at::kFloat));
}

}  // namespace

Draws drawSamples(const DiffusionModel& model, const Position& at, const Consolidation& c, const Pool& pool) {
  Random random(at.seed, Purpose::consolidation, static_cast<uint64_t>(at.step));
  const std::vector<int64_t> order = random.permutation(pool.size());
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < c.samples; ++i) positions.push_back(order[static_cast<size_t>(i % pool.size())]);
  Draws draws;
  draws.x0 = pool.images(positions).to(model.how.device);
  if (model.unet.isConditional()) draws.labels = pool.labels(positions).to(model.how.device);
  draws.timesteps = toDevice(random.integers(c.samples, c.from, c.to), model.how.device);
  draws.noise = model.normal(random, model.imageShape(c.samples));
  return draws;
}

void consolidate(const DiffusionModel& model, ModelState& state, Team& team, const Group& group,
                 const std::vector<Consolidation>& consolidations, const Pool& pool, const Cancellation& cancellation) {
  const at::Tensor anchor = state.student.master.clone();
  std::vector<Consolidated> results;
  for (const Consolidation& c : consolidations) {
    at::Tensor measured;
    if (c.estimate == Importance::pathIntegral) {
      measured = fromPath(state, c);
    } else {
      const Draws draws = drawSamples(model, state.position(), c, pool);
      measured = fromGradients({model, state, team, group, draws, cancellation}, model.layout().total(), c);
    }
    const c10::NoGradGuard noGrad;
    results.push_back(state.penalties.after(c, anchor, measured));
  }
  for (size_t i = 0; i < results.size(); ++i) state.keep(consolidations[i].name, std::move(results[i]));
}

}  // namespace continual
