#include <algorithm>
#include <functional>

#include "binding/configs.h"
#include "binding/draws.h"
#include "binding/group.h"
#include "binding/handle.h"
#include "binding/images.h"
#include "binding/sampling.h"
#include "binding/session.h"
#include "binding/values.h"
#include "evaluation/denoising_loss.h"

namespace continual {

namespace {

// JavaScript's thread must not wait for a device, so jobs bring their results to the host.
Losses onHost(const Losses& losses) {
  return {losses.total.to(at::kCPU), losses.terms.to(at::kCPU), losses.penalties.to(at::kCPU),
          losses.gradNorm.to(at::kCPU)};
}

Napi::Value toLosses(Napi::Env env, const Losses& losses) {
  auto result = Napi::Object::New(env);
  result.Set("loss", Napi::Number::New(env, losses.total.item<double>()));
  result.Set("terms", toDoubles(env, losses.terms));
  result.Set("penalties", toDoubles(env, losses.penalties));
  result.Set("gradNorm", Napi::Number::New(env, losses.gradNorm.item<double>()));
  return result;
}

Napi::Value toPenalties(Napi::Env env, const Penalties& penalties) {
  auto result = Napi::Array::New(env);
  for (const auto& [name, kept] : penalties.kept()) {
    auto entry = Napi::Object::New(env);
    entry.Set("name", Napi::String::New(env, name));
    entry.Set("shape", Napi::String::New(env, toWord(kept.shape)));
    entry.Set("parts", Napi::Number::New(env, static_cast<double>(kept.parts.size())));
    result.Set(result.Length(), entry);
  }
  return result;
}

class LearnerHandle : public Handle<LearnerHandle, LearnerValue> {
 public:
  static constexpr const char* name = "NativeLearner";
  static constexpr napi_type_tag tag{0x1c9a57e2b04d4f8a, 0x93f27c61d5e8b034};
  using Handle::Handle;

  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, name,
                       {InstanceAccessor<&LearnerHandle::parameters>("parameters"),
                        InstanceAccessor<&LearnerHandle::getState>("state"),
                        InstanceMethod<&LearnerHandle::setState>("setState"),
                        InstanceMethod<&LearnerHandle::begin>("beginSession"),
                        InstanceMethod<&LearnerHandle::compute>("compute"),
                        InstanceMethod<&LearnerHandle::computeGiven>("computeGiven"),
                        InstanceMethod<&LearnerHandle::update>("update"),
                        InstanceMethod<&LearnerHandle::beginTask>("beginTask"),
                        InstanceMethod<&LearnerHandle::freezeTeacher>("freezeTeacher"),
                        InstanceMethod<&LearnerHandle::followPath>("followPath"),
                        InstanceMethod<&LearnerHandle::penalties>("penalties"),
                        InstanceMethod<&LearnerHandle::readPenalties>("readPenalties"),
                        InstanceMethod<&LearnerHandle::writePenalty>("writePenalty"),
                        InstanceMethod<&LearnerHandle::predict>("predict"),
                        InstanceMethod<&LearnerHandle::sample>("sample"),
                        InstanceMethod<&LearnerHandle::denoising>("denoisingLoss"),
                        InstanceMethod<&LearnerHandle::hasTensor>("has"),
                        InstanceMethod<&LearnerHandle::readTensor>("read"),
                        InstanceMethod<&LearnerHandle::writeTensor>("write"),
                        InstanceMethod("dispose", &LearnerHandle::dispose)});
  }

 private:
  /// Runs work that changes how much memory the learner holds.
  template <class Work>
  Napi::Value runAndAccount(const Napi::CallbackInfo& info, Work work, const std::vector<Napi::Value>& keep = {}) {
    auto handle = std::make_shared<Napi::ObjectReference>(Napi::Persistent(info.This().As<Napi::Object>()));
    auto both = [work = std::move(work)](LearnerValue& learner) {
      work(learner);
      return learner.bytes();
    };
    return run(info.Env(), keep, std::move(both), [handle](Napi::Env env, int64_t bytes) {
      Unwrap(handle->Value())->account(env, bytes);
      return env.Undefined();
    });
  }

  Napi::Value parameters(const Napi::CallbackInfo& info) {
    return toParameterList(info.Env(), value()->trainer.model.layout());
  }

  Napi::Value getState(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const ModelState& model = value()->trainer.state;
    const Position position = model.position();
    auto result = Napi::Object::New(env);
    result.Set("seed", Napi::Number::New(env, static_cast<double>(position.seed)));
    result.Set("step", Napi::Number::New(env, static_cast<double>(position.step)));
    result.Set("taskStep", Napi::Number::New(env, static_cast<double>(position.taskStep)));
    result.Set("optimizerStep", Napi::Number::New(env, static_cast<double>(model.optimizerStep())));
    return result;
  }

  Napi::Value setState(const Napi::CallbackInfo& info) {
    const auto options = info[0].As<Napi::Object>();
    const uint64_t seed = continual::seed(options);
    // So far that no position in the data overflows.
    const int64_t step = integer(options, "step", 0, int64_t{1} << 40);
    const int64_t taskStep = integer(options, "taskStep", 0, step);
    const int64_t optimizerStep = integer(options, "optimizerStep", 0, step);
    return run(info.Env(), {},
               [=](LearnerValue& l) { l.trainer.state.setPosition({seed, step, taskStep}, optimizerStep); });
  }

  Napi::Value begin(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return beginSession(info, value()); });
  }

  Napi::Value compute(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const Objective terms = objective(info[0].As<Napi::Object>(), value()->timesteps(), value()->unet());
      const std::vector<Draws> draws = drawsFrom(info[1], terms, value()->timesteps());
      const Cancellation cancel(nullptr, state(env).engine.closing());
      return run(
          env, {},
          [=](LearnerValue& learner) {
            return onHost(learner.trainer.step.compute(terms, moved(draws, learner.trainer.model.how.device), cancel));
          },
          toLosses);
    });
  }

  Napi::Value computeGiven(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const ModelInput input = modelInput(info[0], info[1], info[4], value()->trainer.model);
      const at::Tensor target = overTensor(info[2], "target").clone(), weight = overFloats(info[3], "weight").clone();
      const Cancellation cancel(nullptr, state(env).engine.closing());
      const bool dropsOut = info[5].ToBoolean().Value();
      std::vector<int64_t> shape = input.xt.sizes().vec();
      shape[1] = value()->unet().config().outChannels;
      if (target.sizes() != shape || weight.numel() != shape[0]) {
        throw Error("ERR_INVALID_ARGUMENT", "target must have the prediction's shape, and weight one value per image");
      }
      return run(
          env, {},
          [=](LearnerValue& learner) {
            Trainer& trainer = learner.trainer;
            const auto there = [&](const at::Tensor& t) { return t.defined() ? t.to(trainer.model.how.device) : t; };
            ModelInput given = trainer.model.ofLevels({there(input.xt), there(input.timesteps), there(input.labels)});
            if (dropsOut) {
              const Position at = trainer.state.position();
              Random random(at.seed, Purpose::training, static_cast<uint64_t>(at.step));
              given.dropoutKeys = there(dropoutKeys(random, target.size(0)));
            }
            return onHost(trainer.step.compute(given, there(target), there(weight), cancel));
          },
          toLosses);
    });
  }

  Napi::Value update(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const auto options = info[0].As<Napi::Object>();
      const double rate = number(options, "lr");
      const OptimizerConfig optimizer = optimizerConfig(options);
      return run(info.Env(), {}, [=](LearnerValue& learner) {
        ModelState& state = learner.trainer.state;
        state.setRates(rate);
        learner.trainer.step.update(optimizer);
        state.advance();
      });
    });
  }

  Napi::Value beginTask(const Napi::CallbackInfo& info) {
    const bool keep = info[0].ToBoolean().Value();
    return run(info.Env(), {}, [=](LearnerValue& learner) { learner.trainer.state.beginTask(keep); });
  }

  Napi::Value freezeTeacher(const Napi::CallbackInfo& info) {
    const double decay = info[0].IsUndefined() ? 0 : info[0].ToNumber().DoubleValue();
    return runAndAccount(info, [=](LearnerValue& learner) { learner.trainer.state.freezeTeacher(decay); });
  }

  Napi::Value followPath(const Napi::CallbackInfo& info) {
    const bool follow = info[0].ToBoolean().Value();
    return runAndAccount(info, [=](LearnerValue& learner) { learner.trainer.state.followPath(follow); });
  }

  Napi::Value penalties(const Napi::CallbackInfo& info) {
    return run(info.Env(), {}, [](LearnerValue& learner) { return learner.trainer.state.penalties; }, toPenalties);
  }

  Napi::Value readPenalties(const Napi::CallbackInfo& info) {
    using Tensors = std::vector<at::Tensor>;
    struct Read {
      std::string name;
      Shape shape;
      std::vector<std::pair<Tensors, Tensors>> parts;  // anchor and importance
    };
    return run(
        info.Env(), {},
        [](LearnerValue& learner) {
          const ParameterLayout& layout = learner.trainer.model.layout();
          std::vector<Read> result;
          for (const auto& [name, kept] : learner.trainer.state.penalties.kept()) {
            result.push_back({name, kept.shape, {}});
            for (const Quadratic& part : kept.parts) {
              result.back().parts.emplace_back(layout.read(part.anchor), layout.read(part.importance));
            }
          }
          return result;
        },
        [](Napi::Env env, const std::vector<Read>& all) -> Napi::Value {
          auto result = Napi::Array::New(env);
          for (const Read& read : all) {
            auto quadratics = Napi::Array::New(env);
            for (const auto& [anchor, importance] : read.parts) {
              auto quadratic = Napi::Object::New(env);
              quadratic.Set("anchor", toFloat32Arrays(env, anchor));
              quadratic.Set("importance", toFloat32Arrays(env, importance));
              quadratics.Set(quadratics.Length(), quadratic);
            }
            auto entry = Napi::Object::New(env);
            entry.Set("name", Napi::String::New(env, read.name));
            entry.Set("shape", Napi::String::New(env, toWord(read.shape)));
            entry.Set("quadratics", quadratics);
            result.Set(result.Length(), entry);
          }
          return result;
        });
  }

  Napi::Value writePenalty(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const auto options = info[0].As<Napi::Object>();
      const std::string name = string(options, "name");
      const Shape form = shape(options);
      std::vector<Napi::Value> keep;
      const std::vector<at::Tensor> anchor = overFloatArrays(field(options, "anchor"), "anchor", keep);
      const std::vector<at::Tensor> importance = overFloatArrays(field(options, "importance"), "importance", keep);
      return runAndAccount(
          info, [=](LearnerValue& l) { l.trainer.state.writePenalty(name, form, anchor, importance); }, keep);
    });
  }

  Napi::Value predict(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const StateTensor weights = stateTensor(info[0]);
      const ModelInput input = modelInput(info[1], info[2], info[3], value()->trainer.model);
      return run(
          env, {},
          [=](LearnerValue& learner) {
            Trainer& trainer = learner.trainer;
            return trainer.predict(weights, trainer.model.ofLevels(input)).to(at::kCPU);
          },
          toTensorObject);
    });
  }

  Napi::Value sample(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const auto options = info[0].As<Napi::Object>();
      const StateTensor weights = stateTensor(field(options, "weights"));
      SampleConfig config = sampleConfig(options, value()->unet(), value()->timesteps());
      std::shared_ptr<LearnerValue> guide;
      StateTensor guideWeights{};
      if (has(options, "guide")) {
        const auto given = object(options, "guide");
        guide = from(field(given, "learner"));
        guideWeights = stateTensor(field(given, "weights"));
        const DiffusionModel &model = value()->trainer.model, &other = guide->trainer.model;
        if (other.imageShape(1) != model.imageShape(1) || other.how.device != model.how.device) {
          throw Error("ERR_INVALID_ARGUMENT",
                      "guide: expected a learner of images of the same shape on the same device");
        }
      }
      const Cancellation cancel = cancellation(info[1], state(env).engine.closing());
      if (!info[1].IsUndefined()) {
        auto flag = info[1].As<Napi::Int32Array>();
        if (flag.ElementLength() > 1) config.done = flag.Data() + 1;
      }
      return run(
          env, {info[1]},
          [=](LearnerValue& learner) {
            const Predict weaker = guide ? guide->trainer.sampling.predictor(guideWeights) : Predict{};
            return learner.trainer.sampling.sample(weights, config, cancel, weaker);
          },
          [](Napi::Env env, const at::Tensor& images) {
            return images.scalar_type() == at::kByte ? toUint8Array(env, images) : toTensorObject(env, images);
          });
    });
  }

  Napi::Value denoising(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const auto options = info[0].As<Napi::Object>();
      const StateTensor weights = stateTensor(field(options, "weights"));
      std::vector<Pool::Part> parts = poolParts(field(options, "pool"));
      const at::Tensor bands = integers(field(options, "edges"), "edges").contiguous();
      const std::vector<int64_t> edges(bands.const_data_ptr<int64_t>(),
                                       bands.const_data_ptr<int64_t>() + bands.numel());
      const int64_t samples = integer(options, "samples"), batchSize = integer(options, "batchSize");
      const uint64_t seed = continual::seed(options);
      const bool rising = std::adjacent_find(edges.begin(), edges.end(), std::greater_equal<>()) == edges.end();
      if (edges.size() < 2 || !rising || edges.front() < 0 || edges.back() > value()->timesteps() || samples < 1 ||
          batchSize < 1) {
        throw Error("ERR_INVALID_ARGUMENT", "denoisingLoss: edges must rise within 0 … " +
                                                std::to_string(value()->timesteps()) +
                                                ", and samples and batchSize be at least 1");
      }
      const Cancellation cancel = cancellation(info[1], state(env).engine.closing());
      return run(
          env, {info[1]},
          [=](LearnerValue& learner) {
            const Pool pool(parts);
            if (pool.size() == 0) throw Error("ERR_INVALID_ARGUMENT", "there are no images to measure the loss on");
            const Trainer& trainer = learner.trainer;
            return denoisingLoss(trainer.model, trainer.state.weights(weights).views, pool, edges, samples, batchSize,
                                 seed, cancel);
          },
          toFloat64Array);
    });
  }

  Napi::Value hasTensor(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), value()->trainer.state.has(stateTensor(info[0])));
  }

  Napi::Value readTensor(const Napi::CallbackInfo& info) {
    const StateTensor which = stateTensor(info[0]);
    return run(
        info.Env(), {}, [=](LearnerValue& learner) { return learner.trainer.state.read(which); }, toFloat32Arrays);
  }

  Napi::Value writeTensor(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const StateTensor which = stateTensor(info[0]);
      // Not copied: lib/ passes arrays that nobody else has, and a copy of all weights would block JavaScript's thread.
      std::vector<Napi::Value> keep;
      const std::vector<at::Tensor> tensors = overFloatArrays(info[1], "tensors", keep);
      return runAndAccount(info, [=](LearnerValue& learner) { learner.trainer.state.write(which, tensors); }, keep);
    });
  }
};

Napi::Value createLearner(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto options = info[0].As<Napi::Object>();
    const UNetConfig unet = unetConfig(object(options, "unet"));
    const ScheduleTable table = scheduleTable(object(options, "schedule"));
    const Parametrisation& predicted = parametrisation(string(options, "prediction"));
    const Compute compute = parseCompute(string(options, "device"), string(options, "precision"), threads(options));
    const uint64_t seed = continual::seed(options);
    const AverageDecay average = averageDecay(field(options, "ema"));
    const Group group = groupOf(options);
    return state(env).engine.run(
        env, {},
        [=] {
          const ThreadScope scope(compute.threads);
          return std::shared_ptr<LearnerValue>(
              new LearnerValue{{unet, NoiseSchedule(table, compute.device), predicted, compute, seed, average, group}});
        },
        [](Napi::Env env, std::shared_ptr<LearnerValue> learner) -> Napi::Value {
          return LearnerHandle::wrap(env, state(env).learner, std::move(learner));
        });
  });
}

// Of the network that a configuration describes, without making it: it may be too large for that.
Napi::Value unetParameters(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const UNet unet(unetConfig(info[0].As<Napi::Object>()), at::MemoryFormat::Contiguous);
    return toParameterList(info.Env(), unet.layout());
  });
}

}  // namespace

void defineLearner(Napi::Env env, Napi::Object exports) {
  state(env).learner = Napi::Persistent(LearnerHandle::define(env));
  exports.Set("createLearner", Napi::Function::New<createLearner>(env, "createLearner"));
  exports.Set("unetParameters", Napi::Function::New<unetParameters>(env, "unetParameters"));
}

}  // namespace continual
