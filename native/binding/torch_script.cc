#include "evaluation/torch_script.h"

#include "binding/handle.h"
#include "binding/values.h"

namespace continual {

namespace {

class TorchScriptHandle : public Handle<TorchScriptHandle, TorchScript> {
 public:
  static constexpr const char* name = "NativeTorchScript";
  static constexpr napi_type_tag tag{0x5af2c08e91d74b36, 0xb7e3149d6c28a05f};
  using Handle::Handle;

  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, name,
                       {InstanceAccessor<&TorchScriptHandle::dimension>("dimension"),
                        InstanceMethod<&TorchScriptHandle::features>("features"),
                        InstanceMethod("dispose", &TorchScriptHandle::dispose)});
  }

 private:
  Napi::Value dimension(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(value()->dimension()));
  }

  Napi::Value features(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const auto images = info[0].As<Napi::Object>();
      const at::Tensor bytes = overBytes(field(images, "data"), "data");
      const int64_t count = integer(images, "count"), height = integer(images, "height"),
                    width = integer(images, "width"), channels = integer(images, "channels");
      if (count < 1 || height < 1 || width < 1 || channels < 1 ||
          static_cast<double>(count) * height * width * channels != static_cast<double>(bytes.numel())) {
        throw Error("ERR_INVALID_ARGUMENT", "images: expected count × height × width × channels bytes, " +
                                                std::to_string(count) + " × " + std::to_string(height) + " × " +
                                                std::to_string(width) + " × " + std::to_string(channels) + "; found " +
                                                std::to_string(bytes.numel()));
      }
      // A copy: JavaScript may change, resize or transfer its buffer before the job runs.
      const at::Tensor pixels = bytes.clone().view({count, height, width, channels});
      return run(env, {}, [=](TorchScript& network) { return network.features(pixels); }, toFloat32Array);
    });
  }
};

TorchScript::Options torchScriptOptions(const Napi::Object& value) {
  const auto range = object(value, "range");
  TorchScript::Options options{string(value, "file"),
                               sides(value, "size", 4096),
                               {number(range, "0"), number(range, "1")},
                               integer(value, "channels", 1, mostChannels),
                               {},
                               {}};
  const auto arguments = object(value, "arguments");
  const Napi::Array names = arguments.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = Napi::Value(names[i]).ToString().Utf8Value();
    if (arguments.Get(name).IsBoolean()) {
      options.arguments[name] = boolean(arguments, name.c_str());
    } else {
      options.arguments[name] = number(arguments, name.c_str());
    }
  }
  if (has(value, "output")) {
    if (field(value, "output").IsNumber()) {
      options.output = integer(value, "output");
    } else {
      options.output = string(value, "output");
    }
  }
  return options;
}

Napi::Value loadTorchScript(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto given = info[0].As<Napi::Object>();
    const TorchScript::Options options = torchScriptOptions(given);
    const Compute compute = parseCompute(string(given, "device"), "fp32", threads(given));
    return state(env).engine.run(
        env, {},
        [=] {
          const ThreadScope scope(compute.threads);
          return std::make_shared<TorchScript>(options, compute);
        },
        [](Napi::Env env, std::shared_ptr<TorchScript> network) -> Napi::Value {
          return TorchScriptHandle::wrap(env, state(env).torchScript, std::move(network));
        });
  });
}

}  // namespace

void defineTorchScript(Napi::Env env, Napi::Object exports) {
  state(env).torchScript = Napi::Persistent(TorchScriptHandle::define(env));
  exports.Set("loadTorchScript", Napi::Function::New<loadTorchScript>(env, "loadTorchScript"));
}

}  // namespace continual
