#include "nn/embeddings.h"

#include <cmath>
#include <numbers>

#include "runtime/error.h"

namespace continual {

namespace {

std::optional<Embedding> timeTable(ParameterLayout& layout, const UNetConfig& c) {
  if (c.timeEmbedding != TimeEmbedding::learned) return std::nullopt;
  return Embedding(layout, "time_proj", c.timeRows, c.blockOutChannels.front());
}

int64_t featuresOf(const UNetConfig& c) {
  return c.blockOutChannels.front() * (c.timeEmbedding == TimeEmbedding::fourier ? 2 : 1);
}

at::Tensor sinesAndCosines(const at::Tensor& angles, bool flipSinToCos) {
  const at::Tensor sines = at::sin(angles), cosines = at::cos(angles);
  return flipSinToCos ? at::cat({cosines, sines}, 1) : at::cat({sines, cosines}, 1);
}

}  // namespace

ConditionEmbedding::ConditionEmbedding(ParameterLayout& layout, const UNetConfig& c)
    : kind_(c.timeEmbedding),
      channels_(c.blockOutChannels.front()),
      flipSinToCos_(c.flipSinToCos),
      freqShift_(c.freqShift),
      timeTable_(timeTable(layout, c)),
      time_{{layout, "time_embedding.linear_1", featuresOf(c), c.timeChannels()},
            {layout, "time_embedding.linear_2", c.timeChannels(), c.timeChannels()}},
      classes_(c.classEmbedding) {}

void ConditionEmbedding::addLast(ParameterLayout& layout, const UNetConfig& c) {
  if (classes_ == ClassEmbedding::table) classTable_.emplace(layout, "class_embedding", c.classRows, c.timeChannels());
  if (classes_ == ClassEmbedding::timestep) {
    const Linear first(layout, "class_embedding.linear_1", featuresOf(c), c.timeChannels());
    class_ = {first, {layout, "class_embedding.linear_2", c.timeChannels(), c.timeChannels()}};
  }
  if (kind_ == TimeEmbedding::fourier) {
    frequencies_ = layout.addFixed("time_proj.weight", {channels_}, {Initial::Kind::normal, 16});
  }
}

at::Tensor ConditionEmbedding::Perceptron::operator()(const Weights& w, const at::Tensor& x) const {
  return second(w, at::silu(first(w, x)));
}

at::Tensor ConditionEmbedding::features(const Weights& w, const at::Tensor& numbers) const {
  if (timeTable_) {
    if (numbers.is_floating_point()) {
      throw Error("ERR_INVALID_ARGUMENT", "a network with time_embedding_type 'learned' takes whole timesteps");
    }
    return (*timeTable_)(w, numbers);
  }
  const at::Tensor values = numbers.to(at::kFloat).unsqueeze(1);
  if (kind_ == TimeEmbedding::fourier) {
    return sinesAndCosines(values.log() * w[frequencies_].detach() * 2 * std::numbers::pi, /*flipSinToCos=*/false);
  }
  const int64_t half = channels_ / 2;
  const double scale = -std::log(10000.0) / (static_cast<double>(half) - freqShift_);
  const at::Tensor frequencies = at::exp(at::arange(half, values.options()) * scale);
  const at::Tensor result = sinesAndCosines(values * frequencies, flipSinToCos_);
  return channels_ % 2 == 0 ? result : at::constant_pad_nd(result, {0, 1});
}

at::Tensor ConditionEmbedding::operator()(const Weights& w, const ModelInput& input) const {
  const at::ScalarType dtype = input.xt.scalar_type();
  const at::Tensor time = time_(w, features(w, input.timesteps).to(dtype));
  if (classes_ == ClassEmbedding::none) return time;
  if (!input.labels.defined()) throw Error("ERR_INVALID_ARGUMENT", "the network takes a label for each image");
  if (classTable_) return time + (*classTable_)(w, input.labels);
  if (class_) return time + (*class_)(w, features(w, input.labels).to(dtype));
  return time + input.labels.to(dtype);
}

}  // namespace continual
