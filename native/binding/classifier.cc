#include "binding/handle.h"
#include "binding/images.h"
#include "binding/values.h"
#include "training/classifier_trainer.h"

namespace continual {

namespace {

/// { data, count, height, width, channels } → a copy of N×H×W×C, for a classifier that takes such images.
at::Tensor imagesFrom(const Napi::Object& images, const ClassifierTrainer& classifier) {
  const at::Tensor bytes = overBytes(field(images, "data"), "data");
  const int64_t count = integer(images, "count"), height = integer(images, "height"), width = integer(images, "width"),
                channels = integer(images, "channels");
  const int64_t expected = classifier.layout().parameters().front().shape[1];
  if (count < 1 || channels != expected || height < 8 || width < 8 ||
      static_cast<double>(count) * height * width * channels != static_cast<double>(bytes.numel())) {
    throw Error("ERR_INVALID_ARGUMENT", "images: expected count × height × width × " + std::to_string(expected) +
                                            " bytes, at least 8 pixels a side; found " + std::to_string(bytes.numel()) +
                                            " bytes");
  }
  return bytes.clone().view({count, height, width, channels});
}

/// Images with their logits: as many for each of `steps` steps, or a pool, whose logits are the caller's memory.
SoftLabelled softLabelled(const Napi::Object& options, const ClassifierTrainer& classifier, int64_t steps) {
  const bool isPool = has(options, "pool");
  const at::Tensor pixels =
      isPool ? ImagesHandle::from(field(options, "pool"))->pixels : imagesFrom(object(options, "images"), classifier);
  // Those of a pool are for many calls, and may be large: they are not copied for each.
  const at::Tensor given = overFloats(field(options, "logits"), "logits");
  const at::Tensor logits = isPool ? given : given.clone();
  const int64_t count = pixels.size(0), classes = classifier.classes();
  if (steps < 1 || (!isPool && count % steps != 0) || logits.numel() != count * classes) {
    throw Error("ERR_INVALID_ARGUMENT", "softLabelled: expected images for each of " + std::to_string(steps) +
                                            " steps and " + std::to_string(classes) + " logits for each image; found " +
                                            std::to_string(count) + " images and " + std::to_string(logits.numel()) +
                                            " logits");
  }
  return {pixels,
          logits.view({count, classes}),
          number(options, "temperature"),
          boolean(options, "swapped"),
          number(options, "labelledWeight"),
          number(options, "weight"),
          isPool};
}

class ClassifierHandle : public Handle<ClassifierHandle, ClassifierTrainer> {
 public:
  static constexpr const char* name = "NativeClassifier";
  static constexpr napi_type_tag tag{0xe4386bd1970c42f5, 0x8b15d2a6f93e7c48};
  using Handle::Handle;

  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, name,
        {InstanceAccessor<&ClassifierHandle::parameters>("parameters"),
         InstanceAccessor<&ClassifierHandle::features>("features"), InstanceMethod<&ClassifierHandle::train>("train"),
         InstanceMethod<&ClassifierHandle::beginTask>("beginTask"), InstanceMethod<&ClassifierHandle::step>("step"),
         InstanceMethod<&ClassifierHandle::setStep>("setStep"), InstanceMethod<&ClassifierHandle::classify>("classify"),
         InstanceMethod<&ClassifierHandle::read>("read"), InstanceMethod<&ClassifierHandle::write>("write"),
         InstanceMethod("dispose", &ClassifierHandle::dispose)});
  }

 private:
  Napi::Value parameters(const Napi::CallbackInfo& info) { return toParameterList(info.Env(), value()->layout()); }

  Napi::Value features(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(ClassifierNet::features));
  }

  Napi::Value train(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const auto options = info[0].As<Napi::Object>();
      std::vector<Pool::Part> parts = poolParts(field(options, "pool"));
      ClassifierBatches batches{integer(options, "batchSize", 1, 1'000'000),
                                integer(options, "steps", 1, int64_t{1} << 40),
                                number(options, "milliseconds") / 1000,
                                number(options, "lr"),
                                boolean(options, "horizontalFlip"),
                                integer(options, "shift", 0, 65536),
                                number(options, "dropout"),
                                {}};
      std::vector<Napi::Value> keep{info[1]};
      if (has(options, "softLabelled")) {
        const Napi::Object soft = object(options, "softLabelled");
        batches.softLabelled = softLabelled(soft, *value(), batches.steps);
        keep.push_back(field(soft, "logits"));
      }
      const Cancellation cancel = cancellation(info[1], state(env).engine.closing());
      return run(
          env, keep,
          [=](ClassifierTrainer& classifier) {
            const Pool pool(parts);
            for (const Pool::Part& part : parts) {
              const auto [lowest, highest] = part.images->labelRange;
              if (lowest < 0 || highest >= classifier.classes()) {
                throw Error("ERR_BAD_DATA", "labels: expected 0 … " + std::to_string(classifier.classes() - 1) +
                                                ", found " + std::to_string(lowest) + " … " + std::to_string(highest));
              }
            }
            if (pool.size() == 0) throw Error("ERR_INVALID_ARGUMENT", "there are no images to train on");
            return classifier.train(pool, batches, cancel);
          },
          [](Napi::Env env, const ClassifierTrainer::Report& report) -> Napi::Value {
            auto result = Napi::Object::New(env);
            result.Set("steps", Napi::Number::New(env, static_cast<double>(report.steps)));
            result.Set("loss", Napi::Number::New(env, report.loss));
            result.Set("accuracy", Napi::Number::New(env, report.accuracy));
            return result;
          });
    });
  }

  Napi::Value beginTask(const Napi::CallbackInfo& info) {
    return run(info.Env(), {}, [](ClassifierTrainer& classifier) { classifier.beginTask(); });
  }

  Napi::Value step(const Napi::CallbackInfo& info) {
    return run(
        info.Env(), {}, [](ClassifierTrainer& classifier) { return classifier.step(); },
        [](Napi::Env env, int64_t step) { return Napi::Number::New(env, static_cast<double>(step)); });
  }

  Napi::Value setStep(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const double step = info[0].ToNumber().DoubleValue();
      // So far that no position in the data overflows.
      if (!(step >= 0 && step <= 0x1p40)) throw Error("ERR_INVALID_ARGUMENT", "step: expected 0 … 2⁴⁰");
      return run(env, {}, [=](ClassifierTrainer& classifier) { classifier.setStep(static_cast<int64_t>(step)); });
    });
  }

  Napi::Value classify(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const at::Tensor pixels = imagesFrom(info[0].As<Napi::Object>(), *value());
      const Cancellation closing(nullptr, state(env).engine.closing());
      return run(
          env, {}, [=](ClassifierTrainer& classifier) { return classifier.classify(pixels, closing); },
          [](Napi::Env env, const ClassifierNet::Output& output) -> Napi::Value {
            auto result = Napi::Object::New(env);
            result.Set("features", toFloat32Array(env, output.features));
            result.Set("logits", toFloat32Array(env, output.logits));
            return result;
          });
    });
  }

  Napi::Value read(const Napi::CallbackInfo& info) {
    return run(info.Env(), {}, [](ClassifierTrainer& classifier) { return classifier.read(); }, toFloat32Arrays);
  }

  Napi::Value write(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      std::vector<Napi::Value> keep;
      std::vector<at::Tensor> tensors = overFloatArrays(info[0], "tensors", keep);
      return run(env, keep, [=](ClassifierTrainer& classifier) { classifier.write(tensors); });
    });
  }
};

Napi::Value createClassifier(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto options = info[0].As<Napi::Object>();
    const int64_t channels = integer(options, "channels", 1, mostChannels),
                  classes = integer(options, "classes", 1, 1'000'000);
    const Compute compute = parseCompute(string(options, "device"), "fp32", threads(options));
    const uint64_t seed = continual::seed(options);
    return state(env).engine.run(
        env, {},
        [=] {
          const ThreadScope scope(compute.threads);
          return std::make_shared<ClassifierTrainer>(channels, classes, compute, seed);
        },
        [](Napi::Env env, std::shared_ptr<ClassifierTrainer> classifier) -> Napi::Value {
          return ClassifierHandle::wrap(env, state(env).classifier, std::move(classifier));
        });
  });
}

}  // namespace

void defineClassifier(Napi::Env env, Napi::Object exports) {
  state(env).classifier = Napi::Persistent(ClassifierHandle::define(env));
  exports.Set("createClassifier", Napi::Function::New<createClassifier>(env, "createClassifier"));
}

}  // namespace continual
