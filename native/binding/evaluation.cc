#include "binding/addon.h"
#include "binding/convert.h"
#include "evaluation/moments.h"

namespace continual {

namespace {

// `m2` and covariances are D × D for means of D.
at::Tensor square(const Napi::Value& value, int64_t dimension, const char* what) {
  const at::Tensor flat = overDoubles(value, what);
  if (dimension < 1 || flat.numel() != dimension * dimension) {
    throw Error("ERR_INVALID_ARGUMENT", std::string(what) + ": expected " + std::to_string(dimension) +
                                            "² values, found " + std::to_string(flat.numel()));
  }
  return flat.view({dimension, dimension});
}

Napi::Value accumulate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const at::Tensor mean = overDoubles(info[2], "mean"), m2 = square(info[3], mean.numel(), "m2");
    const at::Tensor rows = overFloats(info[0], "features").clone();
    const int64_t count = info[1].ToNumber().Int64Value();
    if (rows.numel() == 0 || rows.numel() % mean.numel() != 0) {
      throw Error("ERR_INVALID_ARGUMENT", "features: expected rows of " + std::to_string(mean.numel()) +
                                              " values, found " + std::to_string(rows.numel()) + " values");
    }
    return state(env).engine.run(
        env, {info[2], info[3]},
        [=] {
          accumulateMoments(rows.view({-1, mean.numel()}), count, mean, m2);
          return true;
        },
        [](Napi::Env env, bool) { return env.Undefined(); });
  });
}

Napi::Value frechet(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const at::Tensor mean1 = overDoubles(info[0], "meanA"), mean2 = overDoubles(info[2], "meanB");
    const at::Tensor covariance1 = square(info[1], mean1.numel(), "covA");
    const at::Tensor covariance2 = square(info[3], mean1.numel(), "covB");
    if (mean2.numel() != mean1.numel()) {
      throw Error("ERR_INVALID_ARGUMENT", "meanB: expected " + std::to_string(mean1.numel()) + " values, found " +
                                              std::to_string(mean2.numel()));
    }
    return state(env).engine.run(
        env, {info[0], info[1], info[2], info[3]},
        [=] { return frechetDistance(mean1, covariance1, mean2, covariance2); },
        [](Napi::Env env, double distance) { return Napi::Number::New(env, distance); });
  });
}

}  // namespace

void defineEvaluation(Napi::Env env, Napi::Object exports) {
  exports.Set("accumulateMoments", Napi::Function::New<accumulate>(env, "accumulateMoments"));
  exports.Set("frechetDistance", Napi::Function::New<frechet>(env, "frechetDistance"));
}

}  // namespace continual
