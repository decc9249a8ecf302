#include "binding/addon.h"
#include "binding/configs.h"
#include "binding/values.h"

namespace continual {

namespace {

Napi::Value timesteps(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto options = info[0].As<Napi::Object>();
    const int64_t total = integer(options, "timesteps", 2, 1'000'000);
    const SamplerConfig sampler = samplerConfig(object(options, "sampler"), total);
    const Timesteps plan = samplerTimesteps(total, sampler, at::zeros({1}, at::kLong));
    auto result = Napi::Object::New(info.Env());
    result.Set("timesteps", toInt32Array(info.Env(), plan.timesteps));
    result.Set("previous", toInt32Array(info.Env(), plan.next));
    return result;
  });
}

std::vector<at::Tensor> tensors(const Napi::Object& options, const char* name, at::IntArrayRef shape) {
  std::vector<at::Tensor> result;
  for (const Napi::Object& one : elements(field(options, name), name)) {
    result.push_back(overTensor(one, name).clone());
    if (result.back().sizes() != shape) {
      throw Error("ERR_INVALID_ARGUMENT", std::string(name) + ": expected tensors of the start's shape");
    }
  }
  return result;
}

// A sampler's trajectory with a network whose predictions are given, call by call.
Napi::Value trajectory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto options = info[0].As<Napi::Object>();
    const at::Tensor table = scheduleTable(object(options, "schedule"));
    const Parametrisation& predicted = parametrisation(string(options, "prediction"));
    const SamplerConfig sampler = samplerConfig(object(options, "sampler"), table.size(1));
    const at::Tensor start = overTensor(field(options, "start"), "start").clone();
    const std::vector<at::Tensor> predictions = tensors(options, "predictions", start.sizes()),
                                  noises = tensors(options, "noises", start.sizes());
    if (start.dim() != 4) throw Error("ERR_INVALID_ARGUMENT", "start: expected N×C×H×W");
    return state(env).engine.run(
        env, {},
        [=, &predicted] {
          const NoiseSchedule schedule(table[0], table[1], at::kCPU);
          size_t calls = 0;
          std::vector<at::Tensor> states;
          states.push_back(sample({
              .schedule = schedule,
              .config = sampler,
              .denoiser =
                  [&](const ModelInput& input) {
                    return predicted.estimate(schedule.at(input.timesteps), input.xt, predictions.at(calls++));
                  },
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
