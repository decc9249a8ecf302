#include "binding/convert.h"
#include "binding/handle.h"
#include "binding/images.h"
#include "training/classifier_trainer.h"

namespace continual {

namespace {

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
         InstanceMethod<&ClassifierHandle::classify>("classify"), InstanceMethod<&ClassifierHandle::read>("read"),
         InstanceMethod<&ClassifierHandle::write>("write"), InstanceMethod("dispose", &ClassifierHandle::dispose)});
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
      const int64_t batchSize = integer(options, "batchSize"), steps = integer(options, "steps");
      const double lr = number(options, "lr");
      const bool flip = boolean(options, "horizontalFlip");
      const Cancellation cancel = cancellation(info[1], state(env).engine.closing());
      return state(env).engine.run(
          env, {info[1]},
          [=, classifier = value()] {
            const Pool pool(parts);
            for (const Pool::Part& part : parts) {
              const at::Tensor& labels = part.images->labels;
              if (labels.min().item<int64_t>() < 0 || labels.max().item<int64_t>() >= classifier->classes()) {
                throw Error("ERR_BAD_DATA", "labels: expected 0 … " + std::to_string(classifier->classes() - 1) +
                                                ", found " + std::to_string(labels.min().item<int64_t>()) + " … " +
                                                std::to_string(labels.max().item<int64_t>()));
              }
            }
            if (pool.size() == 0) throw Error("ERR_INVALID_ARGUMENT", "there are no images to train on");
            return classifier->train(pool, batchSize, steps, lr, flip, cancel);
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

  Napi::Value classify(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const auto options = info[0].As<Napi::Object>();
      const at::Tensor bytes = overBytes(field(options, "data"), "data");
      const int64_t count = integer(options, "count"), height = integer(options, "height"),
                    width = integer(options, "width"), channels = integer(options, "channels");
      const int64_t expected = value()->layout().parameters().front().shape[1];
      if (count < 1 || channels != expected || height < 8 || width < 8 ||
          static_cast<double>(count) * height * width * channels != static_cast<double>(bytes.numel())) {
        throw Error("ERR_INVALID_ARGUMENT", "images: expected count × height × width × " + std::to_string(expected) +
                                                " bytes, at least 8 pixels a side; found " +
                                                std::to_string(bytes.numel()) + " bytes");
      }
      const at::Tensor pixels = bytes.clone().view({count, height, width, channels});
      const Cancellation closing(nullptr, state(env).engine.closing());
      return state(env).engine.run(
          env, {}, [=, classifier = value()] { return classifier->classify(pixels, closing); },
          [](Napi::Env env, const ClassifierNet::Output& output) -> Napi::Value {
            auto result = Napi::Object::New(env);
            result.Set("features", toFloat32Array(env, output.features));
            result.Set("logits", toFloat32Array(env, output.logits));
            return result;
          });
    });
  }

  Napi::Value read(const Napi::CallbackInfo& info) {
    return state(info.Env())
        .engine.run(info.Env(), {}, [classifier = value()] { return classifier->read(); }, toFloat32Arrays);
  }

  Napi::Value write(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      if (!info[0].IsArray()) throw Napi::TypeError::New(env, "tensors: expected an array");
      const auto array = info[0].As<Napi::Array>();
      std::vector<at::Tensor> tensors;
      for (uint32_t i = 0; i < array.Length(); ++i) tensors.push_back(overFloats(array[i], "tensors").clone());
      return state(env).engine.run(
          env, {},
          [tensors = std::move(tensors), classifier = value()] {
            classifier->write(tensors);
            return true;
          },
          [](Napi::Env env, bool) { return env.Undefined(); });
    });
  }
};

Napi::Value createClassifier(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto options = info[0].As<Napi::Object>();
    const int64_t channels = integer(options, "channels"), classes = integer(options, "classes");
    const Compute compute = parseCompute(string(options, "device"), "fp32");
    const auto seed = static_cast<uint64_t>(number(options, "seed"));
    return state(env).engine.run(
        env, {}, [=] { return std::make_shared<ClassifierTrainer>(channels, classes, compute, seed); },
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
