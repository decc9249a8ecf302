#include "diffusion/guidance.h"

namespace continual {

at::Tensor guided(const std::function<at::Tensor(const ModelInput&)>& predict, const ModelInput& input,
                  const Guidance& guidance, int64_t nullLabel) {
  if (!guidance.isOn()) return predict(input);
  const auto& [xt, timesteps, labels] = input;
  const at::Tensor both = predict(
      {at::cat({xt, xt}), at::cat({timesteps, timesteps}), at::cat({labels, at::full_like(labels, nullLabel)})});
  const at::Tensor conditional = both.narrow(0, 0, xt.size(0)), unconditional = both.narrow(0, xt.size(0), xt.size(0));
  const at::Tensor acts = (timesteps >= guidance.from) & (timesteps < guidance.to);
  return at::where(acts.view({-1, 1, 1, 1}), unconditional.lerp(conditional, guidance.scale), conditional);
}

}  // namespace continual
