#include <algorithm>
#include <functional>

#include "binding/convert.h"
#include "binding/handle.h"
#include "binding/images.h"
#include "evaluation/denoising_loss.h"
#include "training/trainer.h"

namespace continual {

namespace {

constexpr int64_t largestBatch = 1'000'000;

/// What JavaScript's learner owns: the trainer, and the facts of its creation that conversions need.
struct LearnerValue {
  Trainer trainer;
  at::Device device;
  int64_t timesteps;

  int64_t bytes() const { return trainer.bytes(); }
};

// JavaScript's thread must not wait for a device, so jobs bring their results to the host.
Losses onHost(const Losses& losses) {
  return {losses.total.to(at::kCPU), losses.terms.to(at::kCPU), losses.penalties.to(at::kCPU),
          losses.gradNorm.to(at::kCPU)};
}

std::vector<Draws> moved(std::vector<Draws> draws, at::Device device) {
  for (Draws& d : draws) d = d.with([&](const at::Tensor& t, int64_t) { return t.to(device); });
  return draws;
}

// A batch of images with a timestep each, which index the schedule's tables.
void checkBatch(const at::Tensor& images, const at::Tensor& timesteps, int64_t total, const char* what) {
  const bool fits = images.dim() == 4 && images.size(0) >= 1 && images.size(0) == timesteps.numel() &&
                    timesteps.min().item<int64_t>() >= 0 && timesteps.max().item<int64_t>() < total;
  if (!fits) {
    throw Error("ERR_INVALID_ARGUMENT", std::string(what) + ": expected N×C×H×W with N ≥ 1 and N timesteps in 0 … " +
                                            std::to_string(total - 1));
  }
}

Napi::Value toLosses(Napi::Env env, const Losses& losses) {
  auto result = Napi::Object::New(env);
  const at::Tensor terms = losses.terms.to(at::kDouble).contiguous();
  const double* values = terms.const_data_ptr<double>();
  result.Set("loss", Napi::Number::New(env, losses.total.item<double>()));
  result.Set("terms", toFloat64Array(env, {values, values + terms.numel()}));
  const at::Tensor penalties = losses.penalties.to(at::kDouble).contiguous();
  const double* costs = penalties.const_data_ptr<double>();
  result.Set("penalties", toFloat64Array(env, {costs, costs + penalties.numel()}));
  result.Set("gradNorm", Napi::Number::New(env, losses.gradNorm.item<double>()));
  return result;
}

Napi::Value toDrawsOfOne(Napi::Env env, const Draws& d) {
  auto entry = Napi::Object::New(env);
  if (d.x0.defined()) entry.Set("x0", toTensorObject(env, d.x0));
  if (d.noise.defined()) entry.Set("noise", toTensorObject(env, d.noise));
  if (d.z.defined()) entry.Set("z", toTensorObject(env, d.z));
  if (d.etaNoise.defined()) entry.Set("etaNoise", toTensorObject(env, d.etaNoise));
  entry.Set("timesteps", toInt32Array(env, d.timesteps));
  return entry;
}

Napi::Value toDraws(Napi::Env env, const std::vector<Draws>& draws) {
  auto result = Napi::Array::New(env, draws.size());
  for (size_t i = 0; i < draws.size(); ++i) result.Set(static_cast<uint32_t>(i), toDrawsOfOne(env, draws[i]));
  return result;
}

// Copies: the draws are small, and the caller may go on changing its arrays.
std::vector<Draws> drawsFrom(const Napi::Value& value, const Objective& objective, int64_t timesteps) {
  const Napi::Env env = value.Env();
  if (!value.IsArray() || value.As<Napi::Array>().Length() != objective.sources.size()) {
    throw makeError(env, "ERR_INVALID_ARGUMENT",
                    "draws: expected one entry for each of the objective's " +
                        std::to_string(objective.sources.size()) + " distinct sources");
  }
  std::vector<Draws> result;
  for (uint32_t i = 0; i < objective.sources.size(); ++i) {
    const auto entry = Napi::Value(value.As<Napi::Array>()[i]).As<Napi::Object>();
    const auto tensor = [&](const char* name) {
      return has(entry, name) ? overTensor(field(entry, name), name).clone() : at::Tensor();
    };
    const Draws draws{tensor("x0"), tensor("noise"),    integers(field(entry, "timesteps"), "timesteps"),
                      tensor("z"),  tensor("etaNoise"), at::Tensor()};
    const Source& source = objective.sources[i];
    const bool generated = source.kind == SourceKind::teacher && !draws.x0.defined();
    const bool gaussian = source.kind == SourceKind::gaussian;
    const bool addsNoise = !gaussian && !source.stopAtTimestep;
    if (((generated || gaussian) && !draws.z.defined()) || (!generated && !gaussian && !draws.x0.defined()) ||
        (addsNoise && !draws.noise.defined()) || (generated && source.eta > 0 && !draws.etaNoise.defined())) {
      throw makeError(env, "ERR_INVALID_ARGUMENT",
                      "draws[" + std::to_string(i) +
                          "]: x0 and noise are needed for task and memory; z and noise "
                          "(etaNoise too where eta > 0) for teacher; z for gaussian");
    }
    for (const at::Tensor& images : {draws.x0, draws.noise, draws.z}) {
      if (images.defined()) checkBatch(images, draws.timesteps, timesteps, "draws");
    }
    if (draws.timesteps.numel() != (result.empty() ? draws : result.front()).timesteps.numel()) {
      throw makeError(env, "ERR_INVALID_ARGUMENT", "draws: every source must have as many images as the first");
    }
    result.push_back(draws);
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
                        InstanceMethod<&LearnerHandle::train>("train"),
                        InstanceMethod<&LearnerHandle::draw>("draw"),
                        InstanceMethod<&LearnerHandle::compute>("compute"),
                        InstanceMethod<&LearnerHandle::computeGiven>("computeGiven"),
                        InstanceMethod<&LearnerHandle::update>("update"),
                        InstanceMethod<&LearnerHandle::resetOptimizer>("resetOptimizer"),
                        InstanceMethod<&LearnerHandle::freezeTeacher>("freezeTeacher"),
                        InstanceMethod<&LearnerHandle::followPath>("followPath"),
                        InstanceMethod<&LearnerHandle::drawSamples>("drawSamples"),
                        InstanceMethod<&LearnerHandle::consolidate>("consolidate"),
                        InstanceMethod<&LearnerHandle::penalties>("penalties"),
                        InstanceMethod<&LearnerHandle::readPenalties>("readPenalties"),
                        InstanceMethod<&LearnerHandle::writePenalty>("writePenalty"),
                        InstanceMethod<&LearnerHandle::predict>("predict"),
                        InstanceMethod<&LearnerHandle::sample>("sample"),
                        InstanceMethod<&LearnerHandle::denoising>("denoisingLoss"),
                        InstanceMethod<&LearnerHandle::hasSlot>("hasSlot"),
                        InstanceMethod<&LearnerHandle::readSlot>("readSlot"),
                        InstanceMethod<&LearnerHandle::writeSlot>("writeSlot"),
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
    return toParameterList(info.Env(), value()->trainer.unet().layout());
  }

  Napi::Value getState(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Trainer& trainer = value()->trainer;
    auto result = Napi::Object::New(env);
    result.Set("seed", Napi::Number::New(env, static_cast<double>(trainer.seed())));
    result.Set("step", Napi::Number::New(env, static_cast<double>(trainer.step())));
    result.Set("optimizerStep", Napi::Number::New(env, static_cast<double>(trainer.optimizerStep())));
    return result;
  }

  Napi::Value setState(const Napi::CallbackInfo& info) {
    const auto options = info[0].As<Napi::Object>();
    const uint64_t seed = continual::seed(options);
    // So far that no position in the data overflows.
    const int64_t step = integer(options, "step", 0, int64_t{1} << 40);
    const int64_t optimizerStep = integer(options, "optimizerStep", 0, step);
    return run(info.Env(), {}, [=](LearnerValue& l) { l.trainer.setState(seed, step, optimizerStep); });
  }

  struct BatchOptions {
    std::vector<Pool::Part> task, memory;
    int64_t batchSize;
    bool horizontalFlip;

    explicit BatchOptions(const Napi::Object& options)
        : task(poolParts(field(options, "task"))),
          memory(poolParts(field(options, "memory"))),
          batchSize(integer(options, "batchSize", 1, largestBatch)),
          horizontalFlip(boolean(options, "horizontalFlip")) {}
  };

  static void requireData(const Objective& objective, const Pool& task, const Pool& memory) {
    for (const Source& source : objective.sources) {
      const bool empty = (source.kind == SourceKind::task && task.size() == 0) ||
                         (source.kind == SourceKind::memory && memory.size() == 0);
      if (empty) {
        throw Error("ERR_INVALID_ARGUMENT", source.kind == SourceKind::task ? "the task has no images to train on"
                                                                            : "the memory holds no images yet");
      }
    }
  }

  Napi::Value train(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const auto options = info[0].As<Napi::Object>();
      const Objective terms = objective(object(options, "objective"), value()->timesteps);
      const BatchOptions data(options);
      const int64_t steps = integer(options, "steps", 1, int64_t{1} << 40);
      const OptimizerConfig optimizer = optimizerConfig(object(options, "optimizer"));
      const Cancellation cancel = cancellation(info[1], state(env).engine.closing());
      return run(
          env, {info[1]},
          [=](LearnerValue& learner) {
            const Pool task(data.task), memory(data.memory);
            requireData(terms, task, memory);
            const Batches batches{task, memory, data.batchSize, data.horizontalFlip};
            return learner.trainer.train(terms, batches, steps, optimizer, cancel);
          },
          [](Napi::Env env, const TrainReport& report) -> Napi::Value {
            auto result = Napi::Object::New(env);
            result.Set("steps", Napi::Number::New(env, static_cast<double>(report.steps)));
            result.Set("losses", toFloat64Array(env, report.losses));
            result.Set("terms", toFloat64Array(env, report.terms));
            result.Set("penalties", toFloat64Array(env, report.penalties));
            result.Set("gradNorms", toFloat64Array(env, report.gradNorms));
            if (!report.graphFailure.empty()) {
              result.Set("graphFailure", Napi::String::New(env, report.graphFailure));
            }
            return result;
          });
    });
  }

  Napi::Value draw(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const auto options = info[0].As<Napi::Object>();
      const Objective terms = objective(object(options, "objective"), value()->timesteps);
      const BatchOptions data(options);
      return run(
          env, {},
          [=](LearnerValue& learner) {
            const Pool task(data.task), memory(data.memory);
            requireData(terms, task, memory);
            return moved(learner.trainer.draw(terms, {task, memory, data.batchSize, data.horizontalFlip}), at::kCPU);
          },
          toDraws);
    });
  }

  Napi::Value compute(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const Objective terms = objective(info[0].As<Napi::Object>(), value()->timesteps);
      const std::vector<Draws> draws = drawsFrom(info[1], terms, value()->timesteps);
      const Cancellation cancel(nullptr, state(env).engine.closing());
      return run(
          env, {},
          [=](LearnerValue& learner) {
            return onHost(learner.trainer.compute(terms, moved(draws, learner.device), cancel));
          },
          toLosses);
    });
  }

  Napi::Value computeGiven(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const at::Tensor xt = overTensor(info[0], "xt").clone(), timesteps = integers(info[1], "timesteps");
      const at::Tensor target = overTensor(info[2], "target").clone(), weight = overFloats(info[3], "weight").clone();
      checkBatch(xt, timesteps, value()->timesteps, "xt");
      if (target.sizes() != xt.sizes() || weight.numel() != timesteps.numel()) {
        throw Error("ERR_INVALID_ARGUMENT", "target must have xt's shape, and weight one value per image");
      }
      return run(
          env, {},
          [=](LearnerValue& learner) {
            const auto there = [&](const at::Tensor& t) { return t.to(learner.device); };
            return onHost(learner.trainer.compute(there(xt), there(timesteps), there(target), there(weight)));
          },
          toLosses);
    });
  }

  Napi::Value update(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      const OptimizerConfig optimizer = optimizerConfig(info[0].As<Napi::Object>());
      return run(info.Env(), {}, [=](LearnerValue& learner) { learner.trainer.update(optimizer); });
    });
  }

  Napi::Value resetOptimizer(const Napi::CallbackInfo& info) {
    return run(info.Env(), {}, [](LearnerValue& learner) { learner.trainer.resetOptimizer(); });
  }

  Napi::Value freezeTeacher(const Napi::CallbackInfo& info) {
    const double decay = info[0].IsUndefined() ? 0 : info[0].ToNumber().DoubleValue();
    return runAndAccount(info, [=](LearnerValue& learner) { learner.trainer.freezeTeacher(decay); });
  }

  Napi::Value followPath(const Napi::CallbackInfo& info) {
    const bool follow = info[0].ToBoolean().Value();
    return runAndAccount(info, [=](LearnerValue& learner) { learner.trainer.followPath(follow); });
  }

  Napi::Value drawSamples(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      auto list = Napi::Array::New(env, 1);
      list.Set(uint32_t{0}, info[0]);
      const std::vector<Consolidation> wanted = consolidations(list, value()->timesteps);
      const std::vector<Pool::Part> task = poolParts(info[1]);
      return run(
          env, {},
          [=](LearnerValue& learner) {
            const Pool pool(task);
            requireSamples(wanted, pool);
            return moved({learner.trainer.drawSamples(wanted[0], pool)}, at::kCPU).front();
          },
          toDrawsOfOne);
    });
  }

  Napi::Value consolidate(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const std::vector<Consolidation> wanted = consolidations(info[0], value()->timesteps);
      const std::vector<Pool::Part> task = poolParts(info[1]);
      const Cancellation cancel = cancellation(info[2], state(env).engine.closing());
      return run(env, {info[2]}, [=](LearnerValue& learner) {
        const Pool pool(task);
        requireSamples(wanted, pool);
        learner.trainer.consolidate(wanted, pool, cancel);
      });
    });
  }

  static void requireSamples(const std::vector<Consolidation>& wanted, const Pool& pool) {
    for (const Consolidation& c : wanted) {
      if (c.samples > 0 && pool.size() == 0) {
        throw Error("ERR_INVALID_ARGUMENT", "the task has no images to consolidate '" + c.name + "' from");
      }
    }
  }

  Napi::Value penalties(const Napi::CallbackInfo& info) {
    return run(info.Env(), {}, [](LearnerValue& learner) { return learner.trainer.penalties(); }, toPenalties);
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
          const ParameterLayout& layout = learner.trainer.unet().layout();
          std::vector<Read> result;
          for (const auto& [name, kept] : learner.trainer.penalties().kept()) {
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
            entry.Set("shape", Napi::String::New(env, read.shape == Shape::diagonal ? "diagonal" : "rank-1"));
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
          info, [=](LearnerValue& l) { l.trainer.writePenalty(name, form, anchor, importance); }, keep);
    });
  }

  Napi::Value predict(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const Slot weights = slot(info[0]);
      // A copy: JavaScript may change, resize or transfer its buffer before the job runs.
      const at::Tensor xt = overTensor(info[1], "xt").clone(), timesteps = integers(info[2], "timesteps");
      checkBatch(xt, timesteps, value()->timesteps, "xt");
      return run(
          env, {}, [=](LearnerValue& learner) { return learner.trainer.predict(weights, xt, timesteps).to(at::kCPU); },
          toTensorObject);
    });
  }

  Napi::Value sample(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const auto options = info[0].As<Napi::Object>();
      const Slot weights = slot(field(options, "slot"));
      const int64_t count = integer(options, "count"), batchSize = integer(options, "batchSize");
      const SamplerConfig sampler = samplerConfig(object(options, "sampler"));
      const uint64_t seed = continual::seed(options);
      const bool bytes = string(options, "format") == "uint8";
      at::Tensor stop;
      if (has(options, "stopTimesteps")) stop = integers(field(options, "stopTimesteps"), "stopTimesteps");
      const int64_t timesteps = value()->timesteps;
      const bool stopsFit = !stop.defined() || (stop.numel() == count && stop.min().item<int64_t>() >= 0 &&
                                                stop.max().item<int64_t>() < timesteps);
      if (count < 1 || batchSize < 1 || sampler.steps < 1 || sampler.steps > timesteps || !stopsFit) {
        throw Error("ERR_INVALID_ARGUMENT", "sample: count and batchSize must be at least 1, steps 1 … " +
                                                std::to_string(timesteps) +
                                                ", and stopTimesteps one per image, each below that");
      }
      const Cancellation cancel = cancellation(info[1], state(env).engine.closing());
      return run(
          env, {info[1]},
          [=](LearnerValue& learner) {
            return learner.trainer.sample(weights, count, batchSize, sampler, seed, stop, bytes, cancel);
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
      const Slot weights = slot(field(options, "slot"));
      std::vector<Pool::Part> parts = poolParts(field(options, "pool"));
      const at::Tensor bands = integers(field(options, "edges"), "edges").contiguous();
      const std::vector<int64_t> edges(bands.const_data_ptr<int64_t>(),
                                       bands.const_data_ptr<int64_t>() + bands.numel());
      const int64_t samples = integer(options, "samples"), batchSize = integer(options, "batchSize");
      const uint64_t seed = continual::seed(options);
      const bool rising = std::adjacent_find(edges.begin(), edges.end(), std::greater_equal<>()) == edges.end();
      if (edges.size() < 2 || !rising || edges.front() < 0 || edges.back() > value()->timesteps || samples < 1 ||
          batchSize < 1) {
        throw Error("ERR_INVALID_ARGUMENT", "denoisingLoss: edges must rise within 0 … " +
                                                std::to_string(value()->timesteps) +
                                                ", and samples and batchSize be at least 1");
      }
      const Cancellation cancel = cancellation(info[1], state(env).engine.closing());
      return run(
          env, {info[1]},
          [=](LearnerValue& learner) {
            const Pool pool(parts);
            if (pool.size() == 0) throw Error("ERR_INVALID_ARGUMENT", "there are no images to measure the loss on");
            Trainer& trainer = learner.trainer;
            const auto denoise = [&](const at::Tensor& x, const at::Tensor& t) {
              return trainer.predict(weights, x, t);
            };
            return denoisingLoss(trainer.schedule(), denoise, pool, edges, samples, batchSize, seed, learner.device,
                                 cancel);
          },
          toFloat64Array);
    });
  }

  Napi::Value hasSlot(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), value()->trainer.has(slot(info[0])));
  }

  Napi::Value readSlot(const Napi::CallbackInfo& info) {
    const Slot which = slot(info[0]);
    return run(info.Env(), {}, [=](LearnerValue& learner) { return learner.trainer.read(which); }, toFloat32Arrays);
  }

  Napi::Value writeSlot(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const Slot which = slot(info[0]);
      // Not copied: lib/ passes arrays that nobody else has, and a copy of all weights would block JavaScript's thread.
      std::vector<Napi::Value> keep;
      const std::vector<at::Tensor> tensors = overFloatArrays(info[1], "tensors", keep);
      return runAndAccount(info, [=](LearnerValue& learner) { learner.trainer.write(which, tensors); }, keep);
    });
  }
};

Napi::Value createLearner(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto options = info[0].As<Napi::Object>();
    const UNetConfig unet = unetConfig(object(options, "unet"));
    const ScheduleConfig schedule = scheduleConfig(object(options, "schedule"));
    const Compute compute = parseCompute(string(options, "device"), string(options, "precision"));
    const uint64_t seed = continual::seed(options);
    const double emaDecay = number(options, "emaDecay");
    return state(env).engine.run(
        env, {},
        [=] {
          return std::shared_ptr<LearnerValue>(
              new LearnerValue{{unet, schedule, compute, seed, emaDecay}, compute.device, schedule.timesteps});
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
