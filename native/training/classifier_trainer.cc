#include "training/classifier_trainer.h"

#include <c10/core/GradMode.h>

#include <chrono>

#include "runtime/error.h"

namespace continual {

namespace {

at::Tensor freshWeights(const ParameterLayout& layout, const Compute& how, uint64_t seed) {
  Random random(seed, Purpose::initialisation, 1);
  return layout.initialise(random).to(how.device);
}

// Moves every image by (dy, dx), each in −reach … reach, repeating the border.
at::Tensor shifted(const at::Tensor& x, const at::Tensor& dy, const at::Tensor& dx) {
  const int64_t count = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  const auto options = dy.options();
  const at::Tensor rows = (at::arange(height, options) + dy.unsqueeze(1)).clamp(0, height - 1);
  const at::Tensor columns = (at::arange(width, options) + dx.unsqueeze(1)).clamp(0, width - 1);
  const at::Tensor places = (rows.unsqueeze(2) * width + columns.unsqueeze(1)).view({count, 1, height * width});
  return x.flatten(2).gather(2, places.expand({count, channels, height * width})).view_as(x);
}

}  // namespace

at::Tensor softCrossEntropy(const at::Tensor& student, const at::Tensor& teacher, double temperature, bool swapped) {
  const at::Tensor weights = ((swapped ? student : teacher) / temperature).softmax(1);
  const at::Tensor logs = ((swapped ? teacher : student) / temperature).log_softmax(1);
  return (weights * logs).sum(1).mean() * (-temperature * temperature);
}

ClassifierTrainer::ClassifierTrainer(int64_t channels, int64_t classes, const Compute& compute, uint64_t seed)
    : how_(compute),
      net_(channels, classes, compute.memoryFormat()),
      weights_(net_.layout(), freshWeights(net_.layout(), compute, seed), compute),
      adam_(weights_.master),
      gradient_(net_.layout(), weights_.master),
      seed_(seed) {}

void ClassifierTrainer::beginTask() {
  const c10::NoGradGuard noGrad;
  adam_.reset();
  taskStart_ = step_;
}

ClassifierTrainer::Report ClassifierTrainer::train(const Pool& pool, const ClassifierBatches& batches,
                                                   const Cancellation& cancellation) {
  PrecisionScope precision(how_);
  const OptimizerConfig optimizer{0.9, 0.999, 1e-8, 0, 1};
  adam_.setLearningRate(batches.lr);
  const int64_t batchSize = batches.batchSize;
  const auto& soft = batches.softLabelled;
  const int64_t softSize = soft && !soft->isPool ? soft->pixels.size(0) / batches.steps : batchSize;
  Report report;
  at::Tensor sums = at::zeros({2}, at::TensorOptions(how_.device).dtype(at::kDouble));
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(batches.seconds);
  RunAhead ahead(how_.device);
  while (report.steps < batches.steps && !cancellation.requested()) {
    const std::vector<int64_t> positions = epochs_.batch(seed_, taskStart_, pool.size(), batchSize, step_ - taskStart_);
    Random random(seed_, Purpose::classifier, static_cast<uint64_t>(step_));
    at::Tensor x = pool.images(positions);
    const auto shift = [&] { return random.integers(batchSize, -batches.shift, batches.shift + 1).to(how_.device); };
    const at::Tensor dy = shift();
    x = shifted(x, dy, shift());
    if (batches.horizontalFlip) x = flipHorizontally(x, random.integers(batchSize, 0, 2).to(at::kBool));
    at::Tensor theirs;
    if (soft) {
      const at::Tensor chosen = soft->isPool ? random.integers(softSize, 0, soft->pixels.size(0))
                                             : at::arange(softSize, at::kLong) + report.steps * softSize;
      const auto pick = [&](const at::Tensor& of) {
        return of.index_select(0, toDevice(chosen, of.device())).to(how_.device);
      };
      x = at::cat({x, toModelRange(pick(soft->pixels))});
      theirs = pick(soft->logits);
    }
    const at::Tensor keep =
        random.uniform({x.size(0), ClassifierNet::features}, 0, 1).ge(batches.dropout).to(at::kFloat);
    const at::Tensor labels = pool.labels(positions);

    at::Tensor logits, loss;
    gradient_.begin(1);
    gradient_.add(0, weights_.views, [&](const Weights& weights) {
      const at::Tensor outputs = net_(weights, x, (keep / (1 - batches.dropout)).to(how_.device)).logits;
      logits = outputs.slice(0, 0, batchSize).detach();
      at::Tensor total = at::cross_entropy_loss(outputs.slice(0, 0, batchSize), labels);
      if (soft) {
        total = total * soft->labelledWeight +
                softCrossEntropy(outputs.slice(0, batchSize), theirs, soft->temperature, soft->swapped) * soft->weight;
      }
      loss = total.detach();
      return total;
    });

    const c10::NoGradGuard noGrad;
    const at::Tensor& gradient = gradient_.flat();
    adam_.begin();
    adam_.update(weights_.master, gradient, gradientNorm(gradient), optimizer, 0, layout().total());
    const at::Tensor correct = logits.argmax(1).eq(labels).to(at::kDouble).mean();
    sums.add_(at::stack({loss.to(at::kDouble), correct}));
    ++report.steps;
    ++step_;
    ahead.launched();
    if (std::chrono::steady_clock::now() >= end) break;
  }
  const at::Tensor host = sums.to(at::kCPU);
  const double count = static_cast<double>(std::max<int64_t>(report.steps, 1));
  report.loss = host.const_data_ptr<double>()[0] / count;
  report.accuracy = host.const_data_ptr<double>()[1] / count;
  return report;
}

ClassifierNet::Output ClassifierTrainer::classify(const at::Tensor& pixels, const Cancellation& cancellation) const {
  const c10::NoGradGuard noGrad;
  PrecisionScope precision(how_);
  std::vector<at::Tensor> features, logits;
  for (const at::Tensor& batch : pixels.split(256)) {  // bounds the memory of the activations
    cancellation.check();
    const auto output = net_(weights_.views, toModelRange(batch.to(how_.device)), {});
    features.push_back(output.features.to(at::kCPU));
    logits.push_back(output.logits.to(at::kCPU));
  }
  return {at::cat(features), at::cat(logits)};
}

void ClassifierTrainer::write(const std::vector<at::Tensor>& tensors) {
  const c10::NoGradGuard noGrad;
  layout().write(weights_.master, tensors);
  weights_.refresh(0, layout().total());
}

}  // namespace continual
