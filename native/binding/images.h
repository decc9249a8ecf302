#pragma once

#include "binding/handle.h"
#include "data/images.h"

namespace continual {

class ImagesHandle : public Handle<ImagesHandle, const Images> {
 public:
  static constexpr const char* name = "NativeImages";
  using Handle::Handle;
  static Napi::Function define(Napi::Env env);

 private:
  Napi::Value count(const Napi::CallbackInfo& info);
};

/// Array of { images, indices: Int32Array } → parts of a pool (checked when the pool is made, on the engine thread).
std::vector<Pool::Part> poolParts(const Napi::Value& value);

}  // namespace continual
