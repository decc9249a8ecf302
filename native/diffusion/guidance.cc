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
  return at::where(acts.view({-1, 1, 1, 1}), weak.lerp(strong, guidance.scale), strong);
}

}  // namespace continual
