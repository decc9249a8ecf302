#pragma once

#include <map>

#include "runtime/cancellation.h"
#include "runtime/graphed.h"
#include "runtime/team.h"
#include "training/model_state.h"

namespace continual {

/// What images are generated for: no two uses of a seed, and no two parts of one, ever draw the same noise.
struct SampleUse {
  uint64_t purpose = 0;  // 0 … 15; 0 is what a user asks for
  uint64_t part = 0;     // 0 … 2³² − 1, e.g. the number of a batch
};

/// What to generate, and how.
struct SampleConfig {
  int64_t count, batchSize;
  SamplerConfig sampler;
  uint64_t seed;
  SampleUse use;
  at::Tensor stop = {};    // one timestep per image on the CPU, or undefined
  at::Tensor labels = {};  // one per image on the CPU, or undefined
  /// In place of what the seed draws, or undefined: float32 count × C × H × W, and noises × count × C × H × W.
  at::Tensor start = {}, stepNoise = {};
  /// Of every so many batches only this one is generated, and the others' images are zeros: other processes generate
  /// them.
  int64_t turn = 0, turns = 1;
  int32_t* done = nullptr;  // where it is said how much is done, in 10,000ths
  bool pixels;              // uint8 N×H×W×C in place of float32 N×C×H×W in [−1, 1]
};

/// Generates images with a learner's weights.
class Sampling {
 public:
  Sampling(const DiffusionModel& model, const ModelState& state, Team& team)
      : model_(model), state_(state), team_(team) {}

  /// On the CPU; a pure function of (weights, seed, use): the batch size changes it by rounding at most. `weaker`: a
  /// second network for guidance, see `guided`. Throws Cancelled, and ERR_DIVERGED where an image isn't finite.
  at::Tensor sample(StateTensor weights, const SampleConfig& config, const Cancellation& cancellation,
                    const Predict& weaker = nullptr);
  /// The network with some weights, until one of the state's tensors is replaced by another.
  Predict predictor(StateTensor weights);

 private:
  /// `looks`: of each image, how often it was finite when looked at: before each step and after the last. Throws
  /// ERR_DIVERGED.
  void requireFinite(const at::Tensor& looks, const SampleConfig& config);
  /// Zeros for a batch that another process generates, and the streams of noise as they are after it.
  at::Tensor others(int64_t length, const SampleConfig& config, Random& start, std::vector<Random>& noises);

  const DiffusionModel& model_;
  const ModelState& state_;
  Team& team_;
  std::map<StateTensor, Graphed> predictions_;
  int64_t replacements_ = 0;  // of the state, when they were recorded
};

}  // namespace continual
