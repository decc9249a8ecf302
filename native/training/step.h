#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "distributed/group.h"
#include "runtime/cancellation.h"
#include "runtime/team.h"
#include "training/model_state.h"
#include "training/objective_loss.h"

namespace continual {

/// Scalars of one step, still on the device; `terms` and `penalties` in the objective's order, unweighted.
struct Losses {
  at::Tensor total;
  at::Tensor terms;
  at::Tensor penalties;
  at::Tensor gradNorm;
};

/// The parts of a training step that come after its draws: compute, reduce, update.
class TrainingStep {
 public:
  TrainingStep(const DiffusionModel& model, ModelState& state, Team& team, const Group& group)
      : model_(model), state_(state), team_(team), group_(group) {}

  /// Throws ERR_INVALID_ARGUMENT where the objective has a teacher and the learner has none.
  void requireTeacher(const Objective& objective) const;
  /// Losses and the gradient for this process's share of the draws of a batch: a pure function of (weights, draws).
  /// Keeps the gradient, which is summed over the group. The images are worked on in `turns`, so that fewer are in
  /// memory at once.
  Losses compute(const Objective& objective, const std::vector<Draws>& draws, const Cancellation& cancellation,
                 int64_t turns = 1);
  /// The same for a whole given batch: mean over the images of weightᵢ times its mean squared error to `target`.
  Losses compute(const ModelInput& input, const at::Tensor& target, const at::Tensor& weight,
                 const Cancellation& cancellation);
  /// Tells the group's other processes, which take a step of so many terms, that this one takes none.
  void stop(size_t terms, const Cancellation& cancellation, Standing standing = Standing::stopped);
  /// The first process's number, at all of them: in the place of a step's losses, so that one that stopped is noticed.
  int64_t agree(size_t terms, int64_t number, const Cancellation& cancellation);
  /// Clip, Adam, EMA with the kept gradient.
  void update(const OptimizerConfig& optimizer);

 private:
  using Part = std::function<TermLosses(int64_t first, int64_t length, const Weights& weights)>;
  /// Splits this process's `count` images between the members of the team, in turns: `part` gives a part's mean losses,
  /// which count by their length, for the student's weights as it gets them.
  Losses backward(int64_t count, size_t terms, const Part& part, const std::vector<Penalty>& penalties, int64_t turns,
                  const Cancellation& cancellation);
  /// Mean losses over this process's images, whose gradient is kept.
  TermLosses differentiate(int64_t count, size_t terms, const Part& part, int64_t turns);
  /// The means over the images of all processes, from what each has as means over its own.
  void reduce(int64_t count, TermLosses& losses, const Cancellation& cancellation);
  /// What is summed up of a step that isn't taken.
  at::Tensor nothing(size_t terms) const;

  const DiffusionModel& model_;
  ModelState& state_;
  Team& team_;
  const Group& group_;
};

}  // namespace continual
