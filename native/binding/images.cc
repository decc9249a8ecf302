#include "binding/images.h"

#include <algorithm>

#include "binding/values.h"

namespace continual {

namespace {

bool areFloats(const Napi::Object& options) {
  const Napi::Value images = field(options, "images");
  return images.IsTypedArray() && images.As<Napi::TypedArray>().TypedArrayType() == napi_float32_array;
}

/// `images`, `height`, `width` and `channels` → N × height × width × channels, with 0 ≤ N ≤ `atMost`: a copy, because
/// JavaScript may change, resize or transfer its buffer before a job runs. Floats are N × channels × height × width.
at::Tensor pixelsFrom(const Napi::Object& options, int64_t atMost) {
  const bool floats = areFloats(options);
  const Napi::Value images = field(options, "images");
  const at::Tensor bytes = floats ? overFloats(images, "images") : overBytes(images, "images");
  const int64_t height = integer(options, "height", 1, 65536), width = integer(options, "width", 1, 65536),
                channels = integer(options, "channels", 1, mostChannels), each = height * width * channels;
  if (bytes.numel() % each != 0 || bytes.numel() / each > atMost) {
    throw Error("ERR_BAD_DATA", "images: expected at most " + std::to_string(atMost) + " × " + std::to_string(height) +
                                    " × " + std::to_string(width) + " × " + std::to_string(channels) +
                                    " numbers, found " + std::to_string(bytes.numel()));
  }
  if (floats) return bytes.clone().view({-1, channels, height, width}).permute({0, 2, 3, 1});
  // Not by an operator: those may start threads of their own on JavaScript's.
  at::Tensor copy = at::empty({bytes.numel() / each, height, width, channels}, at::kByte);
  std::copy_n(bytes.const_data_ptr<uint8_t>(), bytes.numel(), copy.mutable_data_ptr<uint8_t>());
  return copy;
}

}  // namespace

Napi::Function ImagesHandle::define(Napi::Env env) {
  return DefineClass(env, name,
                     {InstanceAccessor<&ImagesHandle::count>("count"), InstanceMethod<&ImagesHandle::write>("write"),
                      InstanceMethod("dispose", &ImagesHandle::dispose)});
}

Napi::Value ImagesHandle::count(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(value()->count()));
}

Napi::Value ImagesHandle::write(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto options = info[0].As<Napi::Object>();
    const int64_t count = value()->count(), from = integer(options, "from", 0, count);
    const at::Tensor pixels = pixelsFrom(options, count - from);
    if (pixels.size(3) != value()->pixels.size(3)) {
      throw Error("ERR_BAD_DATA", "images: expected " + std::to_string(value()->pixels.size(3)) + " channels, found " +
                                      std::to_string(pixels.size(3)));
    }
    return run(env, {}, [=](const Images& images) { writeImages(images, from, pixels); });
  });
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
    const at::Tensor labels = integers(field(options, "labels"), "labels");
    const int64_t count = integer(options, "count");
    const auto size = sides(options, "size", 65536);
    if (count < 1 || labels.numel() != count) {
      throw Error("ERR_BAD_DATA", "images: count is " + std::to_string(count) + ", and there are " +
                                      std::to_string(labels.numel()) + " labels; expected one for each image");
    }
    const at::Tensor pixels = pixelsFrom(options, count);
    const int64_t height = size.first > 0 ? size.first : pixels.size(1);
    const int64_t width = size.second > 0 ? size.second : pixels.size(2);
    if (static_cast<double>(count) * height * width * pixels.size(3) > 0x1p53) {
      throw Error("ERR_OUT_OF_MEMORY", "images: " + std::to_string(count) + " × " + std::to_string(height) + " × " +
                                           std::to_string(width) + " are more than any memory holds");
    }
    const auto there = parseCompute(string(options, "device"), "fp32").device;
    const auto kind = at::device(there).dtype(pixels.scalar_type());
    return state(env).engine.run(
        env, {},
        [=] {
          const auto images = blackImages(labels, height, width, pixels.size(3), kind);
          writeImages(*images, 0, pixels);
          return images;
        },
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
