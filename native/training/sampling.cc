#include "training/sampling.h"

#include <c10/core/GradMode.h>

#include <cmath>

#include "data/images.h"
#include "runtime/error.h"

namespace continual {

Predict Sampling::predictor(StateTensor which) {
  if (replacements_ != state_.replacements()) {
    predictions_.clear();
    replacements_ = state_.replacements();
  }
  const WeightSet& weights = state_.weights(which);
  Graphed& graphed = predictions_.try_emplace(which, model_.how.device).first->second;
  return [this, &weights, &graphed](const ModelInput& input) {
    return graphed({input.xt, input.timesteps, input.labels}, [&](const Graphed::Tensors& inputs) {
      return model_.predict(weights.views, {inputs[0], inputs[1], inputs[2]});
    });
  };
}

namespace {

/// How far the images of a batch, or of a member's part of it, held finite numbers alone.
class Soundness {
 public:
  /// Called with the images before each step and after the last. Copies nothing from a device.
  void look(const at::Tensor& images) {
    const at::Tensor sound = images.isfinite().flatten(1).all(1);
    sound_ = sound_.defined() ? sound_ & sound : sound;
    looks_ = looks_.defined() ? looks_ + sound_ : sound_.to(at::kInt);
  }
  /// Of each image, how often in turn it was found finite from the first look on.
  const at::Tensor& looks() const { return looks_; }

 private:
  at::Tensor sound_, looks_;
};

}  // namespace

at::Tensor Sampling::others(int64_t length, const SampleConfig& config, Random& start, std::vector<Random>& noises) {
  const std::vector<int64_t> shape = model_.imageShape(length);
  const int64_t each = wholeFours(shape[1] * shape[2] * shape[3]);
  if (!config.start.defined()) start.take(length * each);
  if (!config.stepNoise.defined()) {
    for (Random& random : noises) random.take(length * each);
  }
  const auto options = at::TensorOptions(model_.how.device).dtype(config.pixels ? at::kByte : at::kFloat);
  return config.pixels ? at::zeros({length, shape[2], shape[3], shape[1]}, options) : at::zeros(shape, options);
}

void Sampling::requireFinite(const at::Tensor& looks, const SampleConfig& config) {
  const SamplerConfig& sampler = config.sampler;
  const at::Tensor unsound = (looks <= sampler.steps).nonzero();
  if (unsound.numel() == 0) return;
  const auto image = unsound[0].item<int64_t>(), step = looks[image].item<int64_t>();
  const std::string found = "image " + std::to_string(image) + ", which the sampler '" + sampler.sampler->name +
                            "' generated, holds numbers that are not finite ";
  if (step == 0) throw Error("ERR_DIVERGED", found + "in the noise that was given to begin with. Give finite noise");
  const at::Tensor stop = config.stop.defined() ? config.stop.narrow(0, image, 1) : at::zeros({1}, at::kLong);
  const at::Tensor timesteps =
      samplerTimesteps(model_.schedule, sampler, toDevice(stop, model_.how.device)).timesteps.to(at::kCPU);
  const auto timestep = static_cast<int64_t>(std::llround(timesteps[step - 1][0].item<double>()));
  throw Error("ERR_DIVERGED", found + "since step " + std::to_string(step) + " of " + std::to_string(sampler.steps) +
                                  ", at timestep " + std::to_string(timestep) +
                                  ": its steps are too coarse for this schedule, the weights diverged, or noise that "
                                  "was given isn't finite. Try another sampler or learner");
}

at::Tensor Sampling::sample(StateTensor which, const SampleConfig& config, const Cancellation& cancellation,
                            const Predict& weaker) {
  const c10::NoGradGuard noGrad;
  const PrecisionScope precision(model_.how);
  const Predict predict = predictor(which);
  // Each stream is read on from batch to batch, so the numbers an image gets do not depend on the batch size.
  const uint64_t use = config.use.purpose << 52, part = config.use.part;
  Random start(config.seed, Purpose::sampling, use | part);
  std::vector<Random> stepNoise;
  for (int64_t i = 0; i < config.sampler.noises(); ++i) {  // fewer than 2²⁰
    stepNoise.emplace_back(config.seed, Purpose::samplingNoise, use | part << 20 | static_cast<uint64_t>(i));
  }
  const auto drawn = [&](Random& random, int64_t length) {
    const std::vector<int64_t> shape = model_.imageShape(length);
    const int64_t size = shape[1] * shape[2] * shape[3], whole = wholeFours(size);
    return model_.normal(random, {length, whole}).narrow(1, 0, size).reshape(shape);
  };
  RunAhead ahead(model_.how.device);
  std::vector<at::Tensor> result;
  std::vector<at::Tensor> looks;
  for (int64_t first = 0; first < config.count; first += config.batchSize) {
    const int64_t length = std::min(config.batchSize, config.count - first), parts = std::min(team_.size(), length);
    if (first / config.batchSize % config.turns != config.turn) {
      result.push_back(others(length, config, start, stepNoise));
      looks.push_back(
          at::full({length}, config.sampler.steps + 1, at::TensorOptions(model_.how.device).dtype(at::kInt)));
      continue;
    }
    const auto ofBatch = [&](const at::Tensor& t, int64_t dim = 0) {
      return t.defined() ? toDevice(t.narrow(dim, first, length), model_.how.device) : t;
    };
    const at::Tensor starts = config.start.defined() ? ofBatch(config.start) : drawn(start, length);
    const at::Tensor stops = ofBatch(config.stop), labels = ofBatch(config.labels);
    std::vector<at::Tensor> noises, images(static_cast<size_t>(parts)), found(static_cast<size_t>(parts));
    const at::Tensor given = ofBatch(config.stepNoise, 1);
    for (size_t i = 0; i < stepNoise.size(); ++i) {
      noises.push_back(given.defined() ? given[static_cast<int64_t>(i)] : drawn(stepNoise[i], length));
    }
    team_.run(parts, [&](int64_t member) {
      const c10::NoGradGuard noGradHere;
      const int64_t begin = length * member / parts, end = length * (member + 1) / parts;
      const auto own = [&](const at::Tensor& t) { return t.defined() ? t.slice(0, begin, end) : t; };
      Soundness soundness;
      const at::Tensor generated = continual::sample({
          .schedule = model_.schedule,
          .parametrisation = model_.parametrisation,
          .config = config.sampler,
          .predict =
              [&, mine = own(labels)](const ModelInput& input) {
                return guided(predict, weaker, {input.xt, input.timesteps, mine}, config.sampler.guidance,
                              model_.unet.nullLabel());
              },
          .start = own(starts),
          .noise = [&](int64_t i) { return own(noises[static_cast<size_t>(i)]); },
          .stop = own(stops),
          .watch =
              [&](int64_t step, const at::Tensor& xt) {
                cancellation.check();
                soundness.look(xt);
                if (member > 0 || config.done == nullptr) return;
                const double images = static_cast<double>(first) +
                                      static_cast<double>(length * step) / static_cast<double>(config.sampler.steps);
                __atomic_store_n(config.done, static_cast<int32_t>(1e4 * images / static_cast<double>(config.count)),
                                 __ATOMIC_RELAXED);
              },
      });
      soundness.look(generated);
      images[static_cast<size_t>(member)] = generated;
      found[static_cast<size_t>(member)] = soundness.looks();
    });
    const at::Tensor all = at::cat(images);
    looks.push_back(at::cat(found));
    result.push_back(config.pixels ? toPixels(all) : all);
    ahead.launched();
  }
  requireFinite(at::cat(looks).to(at::kCPU), config);
  return at::cat(result).to(at::kCPU);
}

}  // namespace continual
