#include "training/trainer.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

namespace continual {

Trainer::Trainer(const UNetConfig& unet, NoiseSchedule schedule, const Parametrisation& parametrisation,
                 const Compute& how, uint64_t seed, double emaDecay, Group processes)
    : model{how, UNet(unet, how.memoryFormat()), std::move(schedule), parametrisation},
      state(model, seed, emaDecay),
      team(how.device.is_cpu() ? Team::forThisMachine() : Team(1, at::get_num_threads())),
      group(std::move(processes)),
      step(model, state, team, group),
      sampling(model, state, team) {}

std::unique_ptr<Session> Trainer::begin(SessionConfig config) {
  return std::make_unique<Session>(model, state, team, group, std::move(config));
}

at::Tensor Trainer::predict(StateTensor weights, const ModelInput& input) const {
  const c10::NoGradGuard noGrad;
  const PrecisionScope precision(model.how);
  return model.predict(state.weights(weights).views,
                       {input.xt.to(model.how.device), input.timesteps.to(model.how.device),
                        input.labels.defined() ? input.labels.to(model.how.device) : at::Tensor()});
}

void Trainer::consolidate(const std::vector<Consolidation>& consolidations, const Pool& pool,
                          const Cancellation& cancellation) {
  continual::consolidate(model, state, team, consolidations, pool, cancellation);
}

}  // namespace continual
