#pragma once

#include <ATen/ATen.h>

#include <optional>

#include "data/epochs.h"
#include "data/images.h"
#include "nn/classifier.h"
#include "runtime/cancellation.h"
#include "training/gradient_sum.h"
#include "training/optimizer.h"

namespace continual {

/// Images without labels, with another classifier's logits for them. Those of step i of a call are
/// [i, i + 1) · count / steps, or, from a pool, as many as labelled ones, drawn with replacement.
struct SoftLabelled {
  at::Tensor pixels;  // uint8, count × height × width × channels
  at::Tensor logits;  // float32, count × classes
  double temperature;
  /// Whose softmax multiplies whose log-softmax: false: the other classifier's that of the one in training; true: the
  /// other way round.
  bool swapped;
  /// The loss is labelledWeight · cross-entropy + weight · soft cross-entropy.
  double labelledWeight, weight;
  bool isPool;
};

/// How a call of `train` goes through its images.
struct ClassifierBatches {
  int64_t batchSize, steps;
  double seconds;  // after which no further step begins
  double lr;
  bool horizontalFlip;
  int64_t shift;   // largest random shift of a labelled image, in pixels
  double dropout;  // probability that a feature is left out
  std::optional<SoftLabelled> softLabelled;
};

/// temperature² times the mean over the rows of −Σ_c softmax(a / temperature)_c · log softmax(b / temperature)_c, where
/// a is the teacher and b the student, or, swapped, the other way round.
at::Tensor softCrossEntropy(const at::Tensor& student, const at::Tensor& teacher, double temperature, bool swapped);

/// A classifier and its training: cross-entropy, Adam, dropout on the features, random shifts. float32 throughout.
class ClassifierTrainer {
 public:
  ClassifierTrainer(int64_t channels, int64_t classes, const Compute& compute, uint64_t seed);

  struct Report {
    int64_t steps = 0;
    double loss = 0, accuracy = 0;  // means over the steps
  };
  /// Trains until the steps are done, the seconds have passed, or it is cancelled: at least one step unless it is
  /// cancelled.
  Report train(const Pool& pool, const ClassifierBatches& batches, const Cancellation& cancellation);
  /// Steps done since creation: with the seed it decides the draws of the next task.
  int64_t step() const { return step_; }
  void setStep(int64_t step) { step_ = step; }
  /// Zeroes the optimiser's state; epochs begin here.
  void beginTask();
  /// uint8 N×H×W×C on any device → float32 on the CPU.
  ClassifierNet::Output classify(const at::Tensor& pixels, const Cancellation& cancellation) const;

  int64_t classes() const { return layout().parameters().back().count; }
  const ParameterLayout& layout() const { return net_.layout(); }
  std::vector<at::Tensor> read() const { return layout().read(weights_.master); }
  void write(const std::vector<at::Tensor>& tensors);
  int threads() const { return how_.threads; }
  int64_t bytes() const { return 4 * static_cast<int64_t>(weights_.master.nbytes()); }

 private:
  Compute how_;
  ClassifierNet net_;
  WeightSet weights_;
  Adam adam_;
  GradientSum gradient_;
  Epochs epochs_;
  uint64_t seed_;
  int64_t step_ = 0, taskStart_ = 0;
};

}  // namespace continual
