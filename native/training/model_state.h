#pragma once

#include <ATen/ATen.h>

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/model.h"
#include "training/draws.h"
#include "training/gradient_sum.h"
#include "training/optimizer.h"
#include "training/penalties.h"

namespace continual {

/// The flat tensors that make up a learner, all laid out like its weights.
enum class StateTensor { student, ema, teacher, expAvg, expAvgSq, pathStart, pathIntegral, gradient };

/// All of a learner that changes: its weights, its frozen teacher, its optimiser, what it keeps for penalties, and
/// where it stands.
class ModelState {
 public:
  /// Fresh weights, drawn from the seed.
  ModelState(const DiffusionModel& model, uint64_t seed, const AverageDecay& average);

  WeightSet student;
  std::optional<WeightSet> ema, teacher;
  Adam adam;
  Path path;
  Penalties penalties;
  GradientSum gradient;
  at::Tensor gradNorm;  // undefined: there is no gradient to apply

  /// What changes from step to step: the learning rate, and the average's decay by the steps of the task that are done.
  /// A recorded graph of the update follows both.
  void setRates(double learningRate);
  /// Moves elements [begin, end) of the average, if there is one, to the student's.
  void average(int64_t begin, int64_t end);
  bool has(StateTensor which) const;
  /// Those of student, EMA or teacher. Throws ERR_INVALID_ARGUMENT where there are none.
  const WeightSet& weights(StateTensor which) const;
  /// Row-major float32 copies on the CPU, in the order of the parameters.
  std::vector<at::Tensor> read(StateTensor which) const;
  /// The inverse; makes teacher and path where there are none.
  void write(StateTensor which, const std::vector<at::Tensor>& tensors);

  /// A task's steps are counted from here on; Adam begins anew too, unless it is kept.
  void beginTask(bool keepOptimizer);
  /// Freezes the weights that sampling uses, the EMA where there is one: teacher ← decay · teacher + (1 − decay) ·
  /// weights, where there is a teacher already.
  void freezeTeacher(double decay);
  /// Follows the path of the weights from here on, or stops doing so. Writing one of the path's tensors follows it too.
  void followPath(bool follow);
  /// Keeps what a task's end adds for penalties.
  void keep(const std::string& penalty, Consolidated consolidated);
  /// Adds one quadratic to what is kept; tensors in the order of the parameters.
  void writePenalty(const std::string& name, Shape shape, const std::vector<at::Tensor>& anchor,
                    const std::vector<at::Tensor>& importance);

  Position position() const { return {seed_, step_, taskStep_}; }
  /// Adam's number of steps.
  int64_t optimizerStep() const { return optimizerStep_; }
  void setPosition(const Position& position, int64_t optimizerStep);
  /// The position is that after one more step.
  void advance();

  /// How often a tensor was replaced by another or a network changed that a recorded graph may read.
  int64_t replacements() const { return replacements_; }
  int64_t bytes() const;

 private:
  const at::Tensor& flat(StateTensor which) const;
  void makeTeacher();

  const DiffusionModel& model_;
  AverageDecay average_;
  double averageWeight_;              // of the student in the next step's average
  at::Tensor averageWeightOnDevice_;  // float32 scalar; undefined on the CPU, and where it doesn't change
  int64_t replacements_ = 0;
  // Written on the engine thread, read by JavaScript's.
  std::atomic<uint64_t> seed_;
  std::atomic<int64_t> step_{0}, taskStep_{0}, optimizerStep_{0};
  std::atomic<bool> hasTeacher_{false}, hasPath_{false};
};

}  // namespace continual
