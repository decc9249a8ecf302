#include "binding/session.h"

#include "binding/configs.h"
#include "binding/draws.h"
#include "binding/handle.h"
#include "binding/images.h"
#include "binding/values.h"

namespace continual {

namespace {

constexpr int64_t largestBatch = 1'000'000;

struct SessionValue {
  std::shared_ptr<LearnerValue> learner;  // which the session refers to
  std::unique_ptr<Session> session;

  int threads() const { return learner->threads(); }
  int64_t bytes() const { return 0; }  // the images and the learner report theirs
};

Napi::Value toReport(Napi::Env env, const TrainReport& report) {
  auto result = Napi::Object::New(env);
  result.Set("steps", Napi::Number::New(env, static_cast<double>(report.steps)));
  result.Set("losses", toFloat64Array(env, report.losses));
  result.Set("terms", toFloat64Array(env, report.terms));
  result.Set("penalties", toFloat64Array(env, report.penalties));
  result.Set("gradNorms", toFloat64Array(env, report.gradNorms));
  result.Set("learningRates", toFloat64Array(env, report.learningRates));
  if (!report.graphFailure.empty()) result.Set("graphFailure", Napi::String::New(env, report.graphFailure));
  return result;
}

void requireSamples(const std::vector<Consolidation>& wanted, const Pool& pool) {
  for (const Consolidation& c : wanted) {
    if (c.samples > 0 && pool.size() == 0) {
      throw Error("ERR_INVALID_ARGUMENT", "the task has no images to consolidate '" + c.name + "' from");
    }
  }
}

/// { dropout, weights }, for a network that takes labels.
Labels labelsOf(const Napi::Object& options) {
  if (!has(options, "labels")) return {};
  const auto labels = object(options, "labels");
  return {number(labels, "dropout"), overDoubles(field(labels, "weights"), "weights").clone()};
}

/// [{ cumulative, stratified }].
std::vector<TimestepDistribution> distributionsOf(const Napi::Object& timesteps) {
  std::vector<TimestepDistribution> result;
  for (const Napi::Object& table : elements(field(timesteps, "tables"), "tables")) {
    result.push_back({overDoubles(field(table, "cumulative"), "cumulative").clone(), boolean(table, "stratified")});
  }
  return result;
}

class SessionHandle : public Handle<SessionHandle, SessionValue> {
 public:
  static constexpr const char* name = "NativeSession";
  static constexpr napi_type_tag tag{0x52d1f0c8e6a94b37, 0xa0c4e917b8d35f62};
  using Handle::Handle;

  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, name,
        {InstanceMethod<&SessionHandle::runSteps>("run"), InstanceMethod<&SessionHandle::stop>("stop"),
         InstanceMethod<&SessionHandle::setReplay>("setReplay"), InstanceMethod<&SessionHandle::draw>("draw"),
         InstanceMethod<&SessionHandle::drawSamples>("drawSamples"),
         InstanceMethod<&SessionHandle::consolidate>("consolidate"),
         InstanceMethod("dispose", &SessionHandle::dispose)});
  }

 private:
  Napi::Value runSteps(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const auto options = info[0].As<Napi::Object>();
      const int64_t steps = integer(options, "steps", 1, int64_t{1} << 40);
      const double seconds = number(options, "milliseconds") / 1000;
      const Cancellation cancel = cancellation(info[1], state(env).engine.closing());
      return run(
          env, {info[1]}, [=](SessionValue& value) { return value.session->run(steps, seconds, cancel); }, toReport);
    });
  }

  Napi::Value stop(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const Cancellation cancel = cancellation(info[0], state(env).engine.closing());
      return run(env, {info[0]}, [=](SessionValue& value) { value.session->stop(cancel); });
    });
  }

  Napi::Value setReplay(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const auto options = info[0].As<Napi::Object>();
      const int64_t number = integer(options, "pool", 0, 1023);
      const std::vector<Pool::Part> parts = poolParts(field(options, "images"));
      return run(env, {}, [=](SessionValue& value) { value.session->setReplay(number, Pool(parts)); });
    });
  }

  Napi::Value draw(const Napi::CallbackInfo& info) {
    return run(info.Env(), {}, [](SessionValue& value) { return moved(value.session->draw(), at::kCPU); }, toDrawsList);
  }

  std::vector<Consolidation> consolidationsFrom(const Napi::Value& list) {
    return consolidations(list, value()->learner->timesteps());
  }

  Napi::Value drawSamples(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      auto list = Napi::Array::New(env, 1);
      list.Set(uint32_t{0}, info[0]);
      return run(
          env, {},
          [wanted = consolidationsFrom(list)](SessionValue& value) {
            requireSamples(wanted, value.session->task());
            const Trainer& trainer = value.learner->trainer;
            const Draws draws =
                continual::drawSamples(trainer.model, trainer.state.position(), wanted[0], value.session->task());
            return moved({draws}, at::kCPU).front();
          },
          toDraws);
    });
  }

  Napi::Value consolidate(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const Cancellation cancel = cancellation(info[1], state(env).engine.closing());
      return run(env, {info[1]}, [=, wanted = consolidationsFrom(info[0])](SessionValue& value) {
        requireSamples(wanted, value.session->task());
        value.learner->trainer.consolidate(wanted, value.session->task(), cancel);
      });
    });
  }
};

}  // namespace

Napi::Value beginSession(const Napi::CallbackInfo& info, std::shared_ptr<LearnerValue> learner) {
  const auto options = info[0].As<Napi::Object>();
  const auto optimizer = object(options, "optimizer");
  const std::vector<int64_t> pools =
      has(options, "pools") ? integerList(field(options, "pools"), "pools") : std::vector<int64_t>{};
  std::vector<int64_t> distributions;
  std::vector<TimestepDistribution> tables;
  if (has(options, "timesteps")) {
    const auto timesteps = object(options, "timesteps");
    distributions = integerList(field(timesteps, "numbers"), "numbers");
    tables = distributionsOf(timesteps);
  }
  const Objective terms =
      objective(object(options, "objective"), learner->timesteps(), learner->unet(), pools, distributions);
  return state(info.Env())
      .engine.run(
          info.Env(), {},
          [learner = std::move(learner), terms, task = poolParts(field(options, "task")),
           memory = poolParts(field(options, "memory")), batchSize = integer(options, "batchSize", 1, largestBatch),
           flip = boolean(options, "horizontalFlip"), labels = labelsOf(options), tables,
           rate = learningRate(optimizer),
           accumulate = has(options, "accumulate") ? integer(options, "accumulate", 1, largestBatch) : 1,
           adam = optimizerConfig(optimizer)] {
            const ThreadScope scope(learner->threads());
            SessionConfig config{
                terms, {Pool(task), Pool(memory), batchSize, flip, labels, {}, tables}, rate, adam, accumulate};
            return std::make_shared<SessionValue>(SessionValue{learner, learner->trainer.begin(std::move(config))});
          },
          [](Napi::Env env, std::shared_ptr<SessionValue> session) -> Napi::Value {
            return SessionHandle::wrap(env, state(env).session, std::move(session));
          });
}

void defineSession(Napi::Env env, Napi::Object) { state(env).session = Napi::Persistent(SessionHandle::define(env)); }

}  // namespace continual
