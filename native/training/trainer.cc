#include "training/trainer.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace continual {

Trainer::Trainer(const UNetConfig& unet, NoiseSchedule schedule, const Parametrisation& parametrisation,
                 const Compute& how, uint64_t seed, const AverageDecay& average, Group processes)
    : model{how, UNet(unet, how.memoryFormat()), std::move(schedule), parametrisation},
      state(model, seed, average),
      team(how.device.is_cpu() ? Team::forThisMachine() : Team(1, at::get_num_threads())),
      group(std::move(processes)),
      step(model, state, team, group),
      sampling(model, state, team) {}

std::unique_ptr<Session> Trainer::begin(SessionConfig config) {
  return std::make_unique<Session>(model, state, team, group, std::move(config));
}

at::Tensor Trainer::predict(StateTensor which, const ModelInput& input) {
  const PrecisionScope precision(model.how);
  const auto& weights = state.weights(which).views;
  const int64_t count = input.xt.size(0), parts = std::max<int64_t>(std::min(team.size(), count), 1);
  std::vector<at::Tensor> predictions(static_cast<size_t>(parts));
  // By the team, as in a training step: threads of libtorch's operators would spin for each other.
  team.run(parts, [&](int64_t member) {
    const c10::NoGradGuard noGrad;
    const int64_t begin = count * member / parts, end = count * (member + 1) / parts;
    const auto own = [&](const at::Tensor& t) { return t.defined() ? t.slice(0, begin, end).to(model.how.device) : t; };
    predictions[static_cast<size_t>(member)] =
        model.predict(weights, {own(input.xt), own(input.timesteps), own(input.labels), own(input.told)});
  });
  return at::cat(predictions);
}

void Trainer::consolidate(const std::vector<Consolidation>& consolidations, const Pool& pool,
                          const Cancellation& cancellation) {
  continual::consolidate(model, state, team, group, consolidations, pool, cancellation);
}

}  // namespace continual
