#pragma once

#include <ATen/ATen.h>

#include "data/epochs.h"
#include "data/images.h"
#include "nn/classifier.h"
#include "runtime/cancellation.h"
#include "training/optimizer.h"

namespace continual {

/// A classifier and its training: cross-entropy, Adam, dropout on the features, random shifts by up to a pixel in
/// sixteen. float32 throughout.
class ClassifierTrainer {
 public:
  ClassifierTrainer(int64_t channels, int64_t classes, const Compute& compute, uint64_t seed);

  struct Report {
    int64_t steps = 0;
    double loss = 0, accuracy = 0;  // means over the steps
  };
  Report train(const Pool& pool, int64_t batchSize, int64_t steps, double lr, bool horizontalFlip,
               const Cancellation& cancellation);
  /// uint8 N×H×W×C on any device → float32 on the CPU.
  ClassifierNet::Output classify(const at::Tensor& pixels, const Cancellation& cancellation) const;

  int64_t classes() const { return layout().parameters().back().count; }
  const ParameterLayout& layout() const { return net_.layout(); }
  std::vector<at::Tensor> read() const { return layout().read(weights_.master); }
  void write(const std::vector<at::Tensor>& tensors);
  int64_t bytes() const { return 4 * static_cast<int64_t>(weights_.master.nbytes()); }

 private:
  Compute how_;
  ClassifierNet net_;
  WeightSet weights_;
  Adam adam_;
  at::Tensor gradient_;
  Weights gradientViews_;
  Epochs epochs_;
  uint64_t seed_;
  int64_t step_ = 0;
};

}  // namespace continual
