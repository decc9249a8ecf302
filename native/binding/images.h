#pragma once

#include "binding/handle.h"
#include "data/images.h"

namespace continual {

class ImagesHandle : public Handle<ImagesHandle, const Images> {
 public:
  static constexpr const char* name = "NativeImages";
  static constexpr napi_type_tag tag{0x7d0b1f6c52a94e31, 0xa6a4c1d98e0f2b57};
  using Handle::Handle;
  static Napi::Function define(Napi::Env env);

 private:
  Napi::Value count(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
};

/// Array of { images, indices: Int32Array } → parts of a pool (checked when the pool is made, on the engine thread).
std::vector<Pool::Part> poolParts(const Napi::Value& value);

}  // namespace continual
