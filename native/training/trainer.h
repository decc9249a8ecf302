#pragma once

#include <ATen/ATen.h>

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/epochs.h"
#include "data/images.h"
#include "diffusion/sampler.h"
#include "nn/unet.h"
#include "runtime/cancellation.h"
#include "runtime/graphed.h"
#include "runtime/team.h"
#include "training/draws.h"
#include "training/gradient_sum.h"
#include "training/objective.h"
#include "training/optimizer.h"
#include "training/penalties.h"

namespace continual {

/// What the draws of a training step are taken from.
struct Batches {
  const Pool& task;
  const Pool& memory;
  int64_t batchSize;
  bool horizontalFlip;
};

/// Scalars of one step, still on the device; `terms` and `penalties` in the objective's order, unweighted.
struct Losses {
  at::Tensor total;
  at::Tensor terms;
  at::Tensor penalties;
  at::Tensor gradNorm;
};

/// What each step of a call of `train` computed, in order; `terms` and `penalties` step by step, unweighted.
struct TrainReport {
  int64_t steps = 0;
  std::vector<double> losses, terms, penalties, gradNorms;
  std::string graphFailure;  // why steps can't be recorded as a CUDA graph, where that was tried and failed
};

/// The tensors that make up a learner, all laid out like its weights.
enum class Slot { student, ema, teacher, expAvg, expAvgSq, pathStart, pathIntegral, gradient };

/// One diffusion model in training: its weights, its frozen teacher, its optimiser, its random state.
class Trainer {
 public:
  Trainer(const UNetConfig& unet, const ScheduleConfig& schedule, const Compute& compute, uint64_t seed,
          double emaDecay);

  const UNet& unet() const { return unet_; }
  const NoiseSchedule& schedule() const { return schedule_; }

  /// draw → compute → update, `steps` times or until cancelled: always whole steps. Throws ERR_DIVERGED before a
  /// non-finite loss reaches the weights (on CUDA: at the end of the call).
  TrainReport train(const Objective& objective, const Batches& batches, int64_t steps, const OptimizerConfig& optimizer,
                    const Cancellation& cancellation);

  /// The draws of the next step: a pure function of (seed, step, data).
  std::vector<Draws> draw(const Objective& objective, const Batches& batches) { return draw(objective, batches, 0); }
  /// Losses and the gradient for given draws: a pure function of (weights, draws). Keeps the gradient.
  Losses compute(const Objective& objective, const std::vector<Draws>& draws, const Cancellation& cancellation);
  /// The same for a given input and target: mean over the images of weightᵢ times its mean squared error.
  Losses compute(const at::Tensor& xt, const at::Tensor& timesteps, const at::Tensor& target, const at::Tensor& weight);
  /// Clip, Adam, EMA with the kept gradient; one step is done.
  void update(const OptimizerConfig& optimizer);

  void resetOptimizer();
  /// Freezes the weights that sampling uses, the EMA where there is one: teacher ← decay · teacher + (1 − decay) ·
  /// weights, where there is a teacher already.
  void freezeTeacher(double decay);

  /// Follows the path of the weights from here on, or stops doing so. Writing one of the path's slots follows it too.
  void followPath(bool follow);
  /// The draws of the samples that `consolidate` estimates from: a pure function of (seed, step, data). Where there are
  /// more samples than images, images come again.
  Draws drawSamples(const Consolidation& consolidation, const Pool& pool) const;
  /// Adds the task that ends here to what is kept for penalties. All of it or, where it throws or is cancelled (throws
  /// Cancelled), nothing.
  void consolidate(const std::vector<Consolidation>& consolidations, const Pool& pool,
                   const Cancellation& cancellation);
  const Penalties& penalties() const { return penalties_; }
  /// Adds one quadratic to what is kept under `name`; tensors in the order of the parameters.
  void writePenalty(const std::string& name, Shape shape, const std::vector<at::Tensor>& anchor,
                    const std::vector<at::Tensor>& importance);

  at::Tensor predict(Slot slot, const at::Tensor& xt, const at::Tensor& timesteps);
  /// Images in [−1, 1], or uint8 `pixels` N×H×W×C, on the CPU; a pure function of (weights, seed): the batch size
  /// changes them by rounding at most.
  at::Tensor sample(Slot slot, int64_t count, int64_t batchSize, const SamplerConfig& sampler, uint64_t seed,
                    const at::Tensor& stop, bool pixels, const Cancellation& cancellation);

  bool has(Slot slot) const;
  std::vector<at::Tensor> read(Slot slot) const;
  void write(Slot slot, const std::vector<at::Tensor>& tensors);
  int64_t bytes() const;

  uint64_t seed() const { return seed_; }
  int64_t step() const { return step_; }
  int64_t optimizerStep() const { return optimizerStep_; }
  void setState(uint64_t seed, int64_t step, int64_t optimizerStep);

 private:
  /// Throws ERR_INVALID_ARGUMENT where the objective has a teacher and the learner has none.
  void requireTeacher(const Objective& objective) const;
  at::Tensor forward(const Weights& weights, const at::Tensor& xt, const at::Tensor& timesteps) const;
  /// Standard normal numbers on the device.
  at::Tensor normal(Random& random, at::IntArrayRef shape) const;
  /// `ahead`: for how many steps after the next one.
  std::vector<Draws> draw(const Objective& objective, const Batches& batches, int64_t ahead);
  Draws draw(const Source& source, const Batches& batches, int64_t ahead, Random& random);
  /// The draws of the next steps, at most so many; on CUDA of several, for which the teacher generates and predicts in
  /// one batch.
  std::deque<std::vector<Draws>> drawSeveral(const Objective& objective, const Batches& batches, int64_t most,
                                             const Cancellation& cancellation);
  /// Fills in what the teacher makes of these draws: of `several` steps, of which the last are repeated.
  void lookAhead(const Objective& objective, int64_t several, std::deque<std::vector<Draws>>& steps,
                 const Cancellation& cancellation);
  /// What was recorded of it holds no more.
  void forgetAhead();
  /// The images of a teacher's source.
  at::Tensor generate(const Source& source, const Draws& draws, const Cancellation& cancellation) const;
  /// x_t of a source, and its x_0 where it has one; runs the teacher where the source asks for it.
  struct Noisy {
    at::Tensor xt, x0;
  };
  Noisy noisy(const Source& source, const Draws& draws, const Cancellation& cancellation) const;
  /// A sum of the objective over part of a batch, with its graph.
  struct Sums {
    at::Tensor total, terms;
  };
  Sums evaluate(const Objective& objective, const std::vector<Draws>& draws, const Weights& weights,
                const Cancellation& cancellation) const;
  using Part = std::function<Sums(int64_t first, int64_t length, const Weights& weights)>;
  /// Splits a batch of `count` between the members of the team: `part` gives a part's mean losses, which count by their
  /// length, for the student's weights as it gets them. The gradient of the whole is kept.
  Losses backward(int64_t count, const Part& part, const std::vector<Penalty>& penalties);
  /// Importances from the gradients of single samples, as the consolidation says.
  at::Tensor importance(const Consolidation& consolidation, const Pool& pool, const Cancellation& cancellation);
  /// Means over the samples of what `add(gradient, sum)` adds to a member's sum.
  at::Tensor meanOverSamples(const Draws& draws, at::IntArrayRef shape, at::ScalarType dtype,
                             const std::function<void(const at::Tensor& gradient, const at::Tensor& sum)>& add,
                             const Cancellation& cancellation);
  /// Compute and update for given draws. Gives the terms' losses, the penalties' costs, the total and the gradient's
  /// norm, float64. On the CPU `check` sees them before the weights change; on CUDA looking would hold up the device.
  at::Tensor step(const Objective& objective, const std::vector<Draws>& draws, const OptimizerConfig& optimizer,
                  const std::function<void(const double* values)>& check, const Cancellation& cancellation);
  /// The part of `update` that the device does.
  void applyGradient(const OptimizerConfig& optimizer);
  /// Calls `work(begin, end)` for ranges of the flat tensors, one for each member of the team.
  void overWeights(const std::function<void(int64_t begin, int64_t end)>& work);
  const WeightSet& weights(Slot slot) const;
  const at::Tensor& master(Slot slot) const;
  void makeEma();
  void makeTeacher();
  std::vector<int64_t> imageShape(int64_t count) const;

  Compute how_;
  UNet unet_;
  NoiseSchedule schedule_;
  double emaDecay_;
  WeightSet student_;
  std::optional<WeightSet> ema_, teacher_;
  Penalties penalties_;
  Path path_;
  Adam adam_;
  Team team_;
  GradientSum gradient_;
  at::Tensor gradNorm_;  // undefined: no gradient to apply
  struct Recorded {
    Graphed step;
    Objective objective;
    OptimizerConfig optimizer;
  } recorded_;
  bool looksAhead_ = true;           // until there was no memory for it
  std::map<size_t, Graphed> ahead_;  // what the teacher makes of several steps' draws, by source of that objective
  std::map<Slot, Graphed> answers_;  // of the network, when sampling
  Epochs epochs_;
  // Written on the engine thread, read by JavaScript's.
  std::atomic<uint64_t> seed_;
  std::atomic<int64_t> step_{0}, optimizerStep_{0};
  std::atomic<bool> hasTeacher_{false}, hasEma_{false}, hasPath_{false};
};

}  // namespace continual
