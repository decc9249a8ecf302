#include "diffusion/guidance.h"

#include <utility>

namespace continual {

namespace {

/// The predictions for the labels and for the null label.
std::pair<at::Tensor, at::Tensor> withAndWithoutLabels(const Predict& predict, const ModelInput& input,
                                                       int64_t nullLabel) {
  const at::Tensor &xt = input.xt, &timesteps = input.timesteps, &labels = input.labels;
  const at::Tensor both = predict(
      {at::cat({xt, xt}), at::cat({timesteps, timesteps}), at::cat({labels, at::full_like(labels, nullLabel)})});
  return {both.narrow(0, 0, xt.size(0)), both.narrow(0, xt.size(0), xt.size(0))};
}

}  // namespace

at::Tensor guided(const Predict& predict, const Predict& weaker, const ModelInput& input, const Guidance& guidance,
                  int64_t nullLabel) {
  if (!guidance.isOn()) return predict(input);
  const auto [strong, weak] =
      weaker ? std::pair(predict(input), weaker(input)) : withAndWithoutLabels(predict, input, nullLabel);
  const at::Tensor acts = (input.timesteps >= guidance.from) & (input.timesteps < guidance.to);
  // Beside its prediction a network may have learned its variance, which isn't guided.
  const int64_t channels = input.xt.size(1), more = strong.size(1) - channels;
  const at::Tensor own = strong.narrow(1, 0, channels), away = weak.narrow(1, 0, channels).lerp(own, guidance.scale),
                   result = at::where(acts.view({-1, 1, 1, 1}), away, own);
  return more == 0 ? result : at::cat({result, strong.narrow(1, channels, more)}, 1);
}

}  // namespace continual
