#include "binding/images.h"

#include "binding/values.h"

namespace continual {

Napi::Function ImagesHandle::define(Napi::Env env) {
  return DefineClass(
      env, name, {InstanceAccessor<&ImagesHandle::count>("count"), InstanceMethod("dispose", &ImagesHandle::dispose)});
}

Napi::Value ImagesHandle::count(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(value()->count()));
}

std::vector<Pool::Part> poolParts(const Napi::Value& value) {
  if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "pool: expected an array");
  const auto array = value.As<Napi::Array>();
  std::vector<Pool::Part> parts;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const auto part = Napi::Value(array[i]).As<Napi::Object>();
    parts.push_back({ImagesHandle::from(field(part, "images")), integers(field(part, "indices"), "indices")});
  }
  return parts;
}

namespace {

Napi::Value createImages(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto options = info[0].As<Napi::Object>();
    const at::Tensor bytes = overBytes(field(options, "images"), "images");
    const at::Tensor labels = integers(field(options, "labels"), "labels");
    const int64_t count = integer(options, "count"), height = integer(options, "height"),
                  width = integer(options, "width"), channels = integer(options, "channels"),
                  size = integer(options, "size");
    const bool fits = count >= 1 && height >= 1 && width >= 1 && channels >= 1 && count <= bytes.numel() &&
                      height <= bytes.numel() && width <= bytes.numel() && channels <= 4 &&
                      static_cast<double>(count) * height * width * channels == static_cast<double>(bytes.numel());
    if (!fits || labels.numel() != count) {
      throw Error("ERR_BAD_DATA", "images: " + std::to_string(count) + " × " + std::to_string(height) + " × " +
                                      std::to_string(width) + " × " + std::to_string(channels) + " does not match " +
                                      std::to_string(bytes.numel()) + " bytes and " + std::to_string(labels.numel()) +
                                      " labels");
    }
    const at::Device device = parseCompute(string(options, "device"), "fp32").device;
    // A copy: JavaScript may change, resize or transfer its buffer before the job runs.
    const at::Tensor pixels = bytes.clone().view({count, height, width, channels});
    return state(env).engine.run(
        env, {}, [=] { return residentImages(pixels, labels, size, device); },
        [](Napi::Env env, std::shared_ptr<const Images> images) -> Napi::Value {
          return ImagesHandle::wrap(env, state(env).images, std::move(images));
        });
  });
}

Napi::Value readImages(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    std::vector<Pool::Part> parts{{ImagesHandle::from(info[0]), integers(info[1], "indices")}};
    return state(env).engine.run(
        env, {},
        [parts = std::move(parts)] {
          const Pool checked(parts);
          const at::Tensor& pixels = parts[0].images->pixels;
          return pixels.index_select(0, parts[0].indices.to(pixels.device())).to(at::kCPU);
        },
        [](Napi::Env env, const at::Tensor& pixels) { return toUint8Array(env, pixels); });
  });
}

}  // namespace

void defineImages(Napi::Env env, Napi::Object exports) {
  state(env).images = Napi::Persistent(ImagesHandle::define(env));
  exports.Set("createImages", Napi::Function::New<createImages>(env, "createImages"));
  exports.Set("readImages", Napi::Function::New<readImages>(env, "readImages"));
}

}  // namespace continual
