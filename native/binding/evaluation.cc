#include <algorithm>

#include "binding/addon.h"
#include "binding/values.h"
#include "evaluation/moments.h"
#include "evaluation/neighbours.h"

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

/// Rows that came in batches → a copy of all of them, N × D: JavaScript may change, resize or transfer its buffers.
at::Tensor joinedRows(const Napi::Value& value, int64_t dimension, int64_t atLeast, const char* what) {
  if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), std::string(what) + ": expected an array");
  const auto array = value.As<Napi::Array>();
  std::vector<at::Tensor> parts;
  int64_t rows = 0;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const at::Tensor flat = overFloats(array[i], what);
    if (dimension < 1 || flat.numel() % dimension != 0) {
      throw Error("ERR_INVALID_ARGUMENT", std::string(what) + ": expected rows of " + std::to_string(dimension) +
                                              " values, found " + std::to_string(flat.numel()) + " values");
    }
    parts.push_back(flat);
    rows += flat.numel() / dimension;
  }
  if (rows < atLeast) {
    throw Error("ERR_INVALID_ARGUMENT", std::string(what) + ": expected at least " + std::to_string(atLeast) +
                                            " rows, found " + std::to_string(rows));
  }
  // Not by an operator: those may start threads of their own on JavaScript's.
  at::Tensor joined = at::empty({rows, dimension}, at::kFloat);
  float* end = joined.mutable_data_ptr<float>();
  for (const at::Tensor& part : parts) end = std::copy_n(part.const_data_ptr<float>(), part.numel(), end);
  return joined;
}

Napi::Value kernel(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const int64_t dimension = info[2].ToNumber().Int64Value();
    const at::Tensor real = joinedRows(info[0], dimension, 2, "real");
    const at::Tensor generated = joinedRows(info[1], dimension, 2, "generated");
    const Cancellation cancel = cancellation(info[3], state(env).engine.closing());
    return state(env).engine.run(
        env, {info[3]}, [=] { return kernelDistance(real, generated, cancel); },
        [](Napi::Env env, double distance) { return Napi::Number::New(env, distance); });
  });
}

Napi::Value covered(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const int64_t dimension = info[2].ToNumber().Int64Value(), k = info[3].ToNumber().Int64Value();
    if (k < 1 || k > 65536) {
      throw Error("ERR_INVALID_ARGUMENT", "k: expected 1 … 65536, found " + std::to_string(k));
    }
    const at::Tensor manifold = joinedRows(info[0], dimension, k + 1, "manifold");
    const at::Tensor points = joinedRows(info[1], dimension, 1, "points");
    const Cancellation cancel = cancellation(info[4], state(env).engine.closing());
    return state(env).engine.run(
        env, {info[4]}, [=] { return coverage(manifold, points, k, cancel); },
        [](Napi::Env env, double fraction) { return Napi::Number::New(env, fraction); });
  });
}

}  // namespace

void defineEvaluation(Napi::Env env, Napi::Object exports) {
  exports.Set("accumulateMoments", Napi::Function::New<accumulate>(env, "accumulateMoments"));
  exports.Set("kernelDistance", Napi::Function::New<kernel>(env, "kernelDistance"));
  exports.Set("coverage", Napi::Function::New<covered>(env, "coverage"));
  exports.Set("frechetDistance", Napi::Function::New<frechet>(env, "frechetDistance"));
}

}  // namespace continual
