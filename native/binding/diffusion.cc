#include "binding/addon.h"
#include "binding/configs.h"
#include "binding/values.h"

namespace continual {

namespace {

Napi::Value timesteps(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto options = info[0].As<Napi::Object>();
    const NoiseSchedule schedule(scheduleTable(object(options, "schedule")), at::kCPU);
    const SamplerConfig sampler = samplerConfig(object(options, "sampler"), schedule.timesteps());
    const Timesteps plan = samplerTimesteps(schedule, sampler, at::zeros({1}, at::kLong));
    auto result = Napi::Object::New(info.Env());
    result.Set("timesteps", toDoubles(info.Env(), plan.timesteps));
    result.Set("previous", toDoubles(info.Env(), plan.next));
    return result;
  });
}

std::vector<at::Tensor> tensors(const Napi::Object& options, const char* name, at::IntArrayRef shape) {
  std::vector<at::Tensor> result;
  for (const Napi::Object& one : elements(field(options, name), name)) {
    result.push_back(overTensor(one, name).clone());
    if (result.back().sizes() != shape) {
      throw Error("ERR_INVALID_ARGUMENT",
                  std::string(name) + ": expected tensors of the start's shape, or predictions of twice its channels");
    }
  }
  return result;
}

// A sampler's trajectory with a network whose predictions are given, call by call.
Napi::Value trajectory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto options = info[0].As<Napi::Object>();
    const ScheduleTable table = scheduleTable(object(options, "schedule"));
    const Parametrisation& predicted = parametrisation(string(options, "prediction"));
    const SamplerConfig sampler = samplerConfig(object(options, "sampler"), table.alpha2.numel());
    const at::Tensor start = overTensor(field(options, "start"), "start").clone();
    if (start.dim() != 4) throw Error("ERR_INVALID_ARGUMENT", "start: expected N×C×H×W");
    std::vector<int64_t> predictedShape = start.sizes().vec();
    if (sampler.variance == Variance::learned || sampler.variance == Variance::learnedRange) predictedShape[1] *= 2;
    const std::vector<at::Tensor> predictions = tensors(options, "predictions", predictedShape),
                                  noises = tensors(options, "noises", start.sizes());
    return state(env).engine.run(
        env, {},
        [=, &predicted] {
          const NoiseSchedule schedule(table, at::kCPU);
          size_t calls = 0;
          std::vector<at::Tensor> states;
          states.push_back(sample({
              .schedule = schedule,
              .parametrisation = predicted,
              .config = sampler,
              .predict = [&](const ModelInput&) { return predictions.at(calls++); },
              .start = start,
              .noise = [&](int64_t i) { return noises.at(static_cast<size_t>(i)); },
              .stop = {},
              .watch = [&](int64_t, const at::Tensor& x) { states.push_back(x); },
          }));
          return states;
        },
        [](Napi::Env env, const std::vector<at::Tensor>& states) { return toFloat32Arrays(env, states); });
  });
}

}  // namespace

void defineDiffusion(Napi::Env env, Napi::Object exports) {
  exports.Set("samplerTimesteps", Napi::Function::New<timesteps>(env, "samplerTimesteps"));
  exports.Set("samplerTrajectory", Napi::Function::New<trajectory>(env, "samplerTrajectory"));
}

}  // namespace continual
