#pragma once

#include <ATen/ATen.h>

namespace continual {

/// The 2-norm of a gradient, or of any numbers in a row, as float64: in float32 a sum of tens of millions of squares
/// would lose five digits.
at::Tensor gradientNorm(const at::Tensor& x);

struct OptimizerConfig {
  double beta1, beta2, eps, weightDecay;
  double clipGradNorm;     // 0: no clipping
  bool decoupled = false;  // weight decay as in AdamW (arXiv 1711.05101)
};

/// The learning rate over the steps of a task: from 0 to `peak` in the first `warmup` steps, then to `final` · peak.
struct LearningRate {
  enum class Kind { constant, linear, cosine };
  double peak;
  Kind kind = Kind::constant;
  int64_t warmup = 0, steps = 1;
  double final = 0;

  /// Of the step that comes after so many.
  double after(int64_t done) const;
};

/// The decay of a moving average of the weights over the steps of a task: from 0 to `most`, if it has warm-up.
struct AverageDecay {
  enum class WarmUp { none, ratio, power };
  double most = 0;  // 0: no average is kept
  WarmUp warmUp = WarmUp::none;
  double invGamma = 1, power = 1;  // of WarmUp::power

  /// Of the step that comes after so many.
  double after(int64_t done) const;
};

/// Adam (arXiv 1412.6980) over one flat float32 tensor, with the gradient's norm clipped in the same pass.
class Adam {
 public:
  at::Tensor expAvg, expAvgSq;
  at::Tensor step;  // float32 scalar on the device

  explicit Adam(const at::Tensor& weights);
  void reset();
  /// From here on. A recorded graph of `update` follows it.
  void setLearningRate(double rate);
  /// Counts a step; then `update` may be called once for every part of the weights, at the same time too.
  void begin();
  /// Updates elements [begin, end). `norm`: the whole gradient's 2-norm, a scalar on the device.
  void update(const at::Tensor& weights, const at::Tensor& gradient, const at::Tensor& norm,
              const OptimizerConfig& config, int64_t begin, int64_t end) const;

 private:
  double rate_ = 0;
  at::Tensor rateOnDevice_;  // float32 scalar; undefined on the CPU
};

}  // namespace continual
