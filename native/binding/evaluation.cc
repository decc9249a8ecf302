#include "binding/addon.h"
#include "binding/values.h"
#include "evaluation/moments.h"
#include "evaluation/neighbours.h"
#include "evaluation/resampling.h"

namespace continual {

namespace {

constexpr int64_t mostReplicates = 1'000'000;

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

// { mean, m2, count }, as `accumulate` leaves them → mean and unbiased covariance, on the engine thread.
struct Given {
  Given(const Napi::Value& value, const char* what) {
    if (!value.IsObject()) throw Napi::TypeError::New(value.Env(), std::string(what) + ": expected an object");
    const auto moments = value.As<Napi::Object>();
    mean = overDoubles(field(moments, "mean"), "mean");
    m2 = square(field(moments, "m2"), mean.numel(), "m2");
    count = integer(moments, "count", 2, int64_t{1} << 53);
  }
  at::Tensor covariance() const { return m2 / static_cast<double>(count - 1); }

  at::Tensor mean, m2;
  int64_t count;
};

Napi::Value frechet(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const Given a(info[0], "a"), b(info[1], "b");
    if (a.mean.numel() != b.mean.numel()) {
      throw Error("ERR_INVALID_ARGUMENT", "b: expected " + std::to_string(a.mean.numel()) + " features, found " +
                                              std::to_string(b.mean.numel()));
    }
    std::vector<Napi::Value> keep;
    for (const Napi::Value& moments : {info[0], info[1]}) {
      for (const char* name : {"mean", "m2"}) keep.push_back(field(moments.As<Napi::Object>(), name));
    }
    return state(env).engine.run(
        env, keep, [=] { return FrechetDistanceFrom(a.mean, a.covariance())(b.mean, b.covariance()); },
        [](Napi::Env env, double distance) { return Napi::Number::New(env, distance); });
  });
}

/// Rows that came in batches, over the memory of their arrays. lib/ passes arrays that nobody else has: a copy on
/// JavaScript's thread would take long.
class Rows {
 public:
  Rows(const Napi::Value& value, int64_t dimension, int64_t atLeast, const char* what, std::vector<Napi::Value>& keep)
      : dimension_(dimension) {
    std::vector<at::Tensor> given = overFloatArrays(value, what, keep);
    int64_t rows = 0;
    for (const at::Tensor& flat : given) {
      if (dimension < 1 || flat.numel() % dimension != 0) {
        throw Error("ERR_INVALID_ARGUMENT", std::string(what) + ": expected rows of " + std::to_string(dimension) +
                                                " values, found " + std::to_string(flat.numel()) + " values");
      }
      rows += flat.numel() / dimension;
    }
    if (rows < atLeast) {
      throw Error("ERR_INVALID_ARGUMENT", std::string(what) + ": expected at least " + std::to_string(atLeast) +
                                              " rows, found " + std::to_string(rows));
    }
    parts_ = std::move(given);
  }
  /// N × D.
  at::Tensor joined() const { return at::cat(parts_).view({-1, dimension_}); }

 private:
  int64_t dimension_;
  std::vector<at::Tensor> parts_;
};

Napi::Value kernel(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const int64_t dimension = info[2].ToNumber().Int64Value();
    std::vector<Napi::Value> keep{info[3]};
    const Rows real(info[0], dimension, 2, "real", keep), generated(info[1], dimension, 2, "generated", keep);
    const Cancellation cancel = cancellation(info[3], state(env).engine.closing());
    const std::optional<double> sigma =
        info[4].IsUndefined() ? std::nullopt : std::optional(info[4].ToNumber().DoubleValue());
    return state(env).engine.run(
        env, keep, [=] { return kernelDistance(real.joined(), generated.joined(), sigma, cancel); },
        [](Napi::Env env, double distance) { return Napi::Number::New(env, distance); });
  });
}

Napi::Value kernels(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const int64_t dimension = info[2].ToNumber().Int64Value();
    const auto options = info[3].As<Napi::Object>();
    const int64_t subsets = integer(options, "subsets", 1, mostReplicates),
                  size = integer(options, "size", 2, int64_t{1} << 53);
    const auto seed = static_cast<uint64_t>(integer(options, "seed"));
    std::vector<Napi::Value> keep{info[4]};
    const Rows real(info[0], dimension, size, "real", keep), generated(info[1], dimension, size, "generated", keep);
    const Cancellation cancel = cancellation(info[4], state(env).engine.closing());
    return state(env).engine.run(
        env, keep, [=] { return kernelDistances(real.joined(), generated.joined(), subsets, size, seed, cancel); },
        toFloat64Array);
  });
}

Napi::Value counts(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const at::Tensor counts = overDoubles(info[0], "counts").clone();
    if (counts.numel() < 1 || !(counts.min().item<double>() >= 0) || !(counts.sum().item<double>() >= 1) ||
        !(counts.sum().item<double>() < 0x1p32)) {
      throw Error("ERR_INVALID_ARGUMENT", "counts: expected counts of at least 1 and fewer than 2^32 elements");
    }
    const auto options = info[1].As<Napi::Object>();
    const int64_t replicates = integer(options, "replicates", 1, mostReplicates);
    const auto seed = static_cast<uint64_t>(integer(options, "seed"));
    const Cancellation cancel = cancellation(info[2], state(env).engine.closing());
    return state(env).engine.run(
        env, {info[2]}, [=] { return resampledCounts(counts, replicates, seed, cancel); }, toDoubles);
  });
}

Napi::Value distances(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const Given real(info[0], "real");
    const auto options = info[2].As<Napi::Object>();
    const int64_t replicates = integer(options, "replicates", 1, mostReplicates);
    const auto seed = static_cast<uint64_t>(integer(options, "seed"));
    const auto moments = info[0].As<Napi::Object>();
    std::vector<Napi::Value> keep{info[3], field(moments, "mean"), field(moments, "m2")};
    const Rows rows(info[1], real.mean.numel(), 2, "rows", keep);
    const Cancellation cancel = cancellation(info[3], state(env).engine.closing());
    return state(env).engine.run(
        env, keep,
        [=] {
          return resampledFrechetDistances(real.mean, real.covariance(), rows.joined(), replicates, seed, cancel);
        },
        toDoubles);
  });
}

Napi::Value covered(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const int64_t dimension = info[2].ToNumber().Int64Value(), k = info[3].ToNumber().Int64Value();
    if (k < 1 || k > 65536) {
      throw Error("ERR_INVALID_ARGUMENT", "k: expected 1 … 65536, found " + std::to_string(k));
    }
    std::vector<Napi::Value> keep{info[4]};
    const Rows manifold(info[0], dimension, k + 1, "manifold", keep), points(info[1], dimension, 1, "points", keep);
    const Cancellation cancel = cancellation(info[4], state(env).engine.closing());
    return state(env).engine.run(
        env, keep, [=] { return coverage(manifold.joined(), points.joined(), k, cancel); },
        [](Napi::Env env, double fraction) { return Napi::Number::New(env, fraction); });
  });
}

}  // namespace

void defineEvaluation(Napi::Env env, Napi::Object exports) {
  exports.Set("accumulateMoments", Napi::Function::New<accumulate>(env, "accumulateMoments"));
  exports.Set("kernelDistance", Napi::Function::New<kernel>(env, "kernelDistance"));
  exports.Set("kernelDistances", Napi::Function::New<kernels>(env, "kernelDistances"));
  exports.Set("resampledCounts", Napi::Function::New<counts>(env, "resampledCounts"));
  exports.Set("resampledFrechetDistances", Napi::Function::New<distances>(env, "resampledFrechetDistances"));
  exports.Set("coverage", Napi::Function::New<covered>(env, "coverage"));
  exports.Set("frechetDistance", Napi::Function::New<frechet>(env, "frechetDistance"));
}

}  // namespace continual
