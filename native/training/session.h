#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "runtime/graphed.h"
#include "training/step.h"

namespace continual {

/// How a task is trained.
struct SessionConfig {
  Objective objective;
  Batches batches;
  LearningRate learningRate;
  OptimizerConfig optimizer;
  /// The batch is worked on in so many parts, one after the other, whose gradients add up.
  int64_t accumulate = 1;
};

/// What each step of a call of `run` computed, in order; `terms` and `penalties` step by step, unweighted.
struct TrainReport {
  int64_t steps = 0;
  std::vector<double> losses, terms, penalties, gradNorms, learningRates;
  std::string graphFailure;  // why steps can't be recorded as a CUDA graph, where that was tried and failed
};

/// The training of one task. It owns what stays the same from step to step: objective, images to draw from, optimiser's
/// settings, the recorded graph of a step, and what the teacher has worked ahead.
class Session {
 public:
  /// Throws ERR_INVALID_ARGUMENT where the objective needs a teacher or images that aren't there.
  Session(const DiffusionModel& model, ModelState& state, Team& team, const Group& group, SessionConfig config);

  /// draw → compute → update, until `steps` are done, or so many seconds have passed, or it is cancelled: always whole
  /// steps, and at least one unless it is cancelled. Throws ERR_DIVERGED before a non-finite loss reaches the weights
  /// (on CUDA: at the end of the call). All processes of a group take the same number of steps, which the first's clock
  /// decides; where another one stops, it throws ERR_GROUP.
  TrainReport run(int64_t steps, double seconds, const Cancellation& cancellation);
  /// Takes the images that sources of this number (Source::pool) draw from, in place of earlier ones. Throws
  /// ERR_INVALID_ARGUMENT where there are none.
  void setReplay(int64_t number, Pool images);
  /// The images of the task.
  const Pool& task() const { return config_.batches.task; }
  /// Tells the group's other processes that this one takes no more steps, where they don't know yet.
  void stop(const Cancellation& cancellation);
  /// The draws of the next step: a pure function of (seed, step, data).
  std::vector<Draws> draw();

 private:
  /// Draws for the next steps, at most so many: on CUDA for several, for which the teacher generates and predicts in
  /// one batch.
  void drawAhead(int64_t most, const Cancellation& cancellation);
  /// The same; what goes wrong is told to the other processes.
  void drawOrStop(int64_t most, const Cancellation& cancellation);
  /// Fills in what the teacher makes of these draws: of `several` steps, of which the last are repeated.
  void lookAhead(int64_t several, const Cancellation& cancellation);
  /// Compute and update for given draws, one source's after the other. Gives the terms' losses, the penalties' costs,
  /// the total and the gradient's norm, float64.
  at::Tensor step(const std::vector<at::Tensor>& draws, const Cancellation& cancellation);
  /// Throws ERR_DIVERGED where one of a step's values isn't finite.
  void checkFinite(const double* values, int64_t step) const;
  void forget();
  /// Throws ERR_INVALID_ARGUMENT where a source's images were not given yet.
  void requireReplay() const;

  const DiffusionModel& model_;
  ModelState& state_;
  SessionConfig config_;
  Drawer drawer_;
  TrainingStep step_;
  Team& team_;
  const Group& group_;

  std::deque<std::vector<Draws>> drawn_;  // for the next steps
  Position drawnFor_{};                   // of the first of them
  int64_t replacements_;                  // of the state, when all that follows was recorded
  Graphed recorded_;
  std::map<size_t, Graphed> ahead_;  // what the teacher makes of several steps' draws, by source
  double secondsEach_ = 0;           // of a step, once some were taken
  bool stopped_ = false;             // as the group's other processes know
  bool looksAhead_ = true;           // until there was no memory for it
};

}  // namespace continual
