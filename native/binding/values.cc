#include "binding/values.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "binding/engine.h"

namespace continual {

namespace {

[[noreturn]] void wrongType(Napi::Env env, const char* name, const char* expected) {
  throw Napi::TypeError::New(env, std::string(name) + ": expected " + expected);
}

template <class Array>
at::Tensor over(const Napi::Value& value, const char* what, napi_typedarray_type type, const char* expected,
                at::ScalarType dtype) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    wrongType(value.Env(), what, expected);
  }
  auto array = value.As<Array>();
  return at::from_blob(array.Data(), {static_cast<int64_t>(array.ElementLength())}, dtype);
}

template <class Array>
Napi::Value external(Napi::Env env, const at::Tensor& tensor, at::ScalarType dtype) {
  auto kept = std::make_unique<at::Tensor>(tensor.to(at::kCPU, dtype).contiguous());
  const size_t count = static_cast<size_t>(kept->numel());
  if (count == 0) return Array::New(env, 0);
  const auto buffer = Napi::ArrayBuffer::New(
      env, kept->mutable_data_ptr(), kept->nbytes(), [](Napi::Env, void*, at::Tensor* memory) { delete memory; },
      kept.get());
  kept.release();
  return Array::New(env, count, buffer, 0);
}

}  // namespace

Napi::Value field(const Napi::Object& object, const char* name) { return object.Get(name); }

bool has(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  return !value.IsUndefined() && !value.IsNull();
}

double number(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) wrongType(object.Env(), name, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

int64_t integer(const Napi::Object& object, const char* name) {
  const double value = number(object, name);
  if (!(std::abs(value) < 0x1p53)) wrongType(object.Env(), name, "an integer");
  return static_cast<int64_t>(value);
}

int64_t integer(const Napi::Object& object, const char* name, int64_t lowest, int64_t highest) {
  const int64_t value = integer(object, name);
  if (value < lowest || value > highest) {
    throw makeError(object.Env(), "ERR_INVALID_ARGUMENT",
                    std::string(name) + ": expected " + std::to_string(lowest) + " … " + std::to_string(highest) +
                        ", found " + std::to_string(value));
  }
  return value;
}

int threads(const Napi::Object& object) {
  return has(object, "threads") ? static_cast<int>(integer(object, "threads", 1, 1024)) : 0;
}

uint64_t seed(const Napi::Object& object) {
  return static_cast<uint64_t>(integer(object, "seed", 0, std::numeric_limits<int64_t>::max()));
}

bool boolean(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsBoolean()) wrongType(object.Env(), name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string string(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsString()) wrongType(object.Env(), name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

Napi::Object object(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsObject()) wrongType(object.Env(), name, "an object");
  return value.As<Napi::Object>();
}

std::vector<Napi::Object> elements(const Napi::Value& value, const char* what) {
  if (!value.IsArray()) wrongType(value.Env(), what, "an array");
  const auto array = value.As<Napi::Array>();
  std::vector<Napi::Object> result;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value element = array[i];
    if (!element.IsObject()) wrongType(value.Env(), what, "an array of objects");
    result.push_back(element.As<Napi::Object>());
  }
  return result;
}

std::vector<std::string> strings(const Napi::Object& object, const char* name) {
  const auto array = field(object, name).As<Napi::Array>();
  std::vector<std::string> result;
  for (uint32_t i = 0; i < array.Length(); ++i) result.push_back(Napi::Value(array[i]).ToString().Utf8Value());
  return result;
}

std::vector<int64_t> integerList(const Napi::Value& value, const char* what) {
  if (!value.IsArray()) wrongType(value.Env(), what, "an array of integers");
  const auto array = value.As<Napi::Array>();
  std::vector<int64_t> result;
  for (uint32_t i = 0; i < array.Length(); ++i) result.push_back(Napi::Value(array[i]).ToNumber().Int64Value());
  return result;
}

std::pair<int64_t, int64_t> sides(const Napi::Object& object, const char* name, int64_t highest) {
  const Napi::Value given = field(object, name);
  if (given.IsNumber()) {
    const int64_t side = integer(object, name, 0, highest);
    return {side, side};
  }
  const std::vector<int64_t> both = integerList(given, name);
  for (const int64_t side : both) {
    if (both.size() != 2 || side < 0 || side > highest) wrongType(object.Env(), name, "a side, or height and width");
  }
  if (both.empty()) wrongType(object.Env(), name, "a side, or height and width");
  return {both[0], both[1]};
}

at::Tensor overBytes(const Napi::Value& value, const char* what) {
  return over<Napi::Uint8Array>(value, what, napi_uint8_array, "a Uint8Array", at::kByte);
}

at::Tensor overFloats(const Napi::Value& value, const char* what) {
  return over<Napi::Float32Array>(value, what, napi_float32_array, "a Float32Array", at::kFloat);
}

at::Tensor overDoubles(const Napi::Value& value, const char* what) {
  return over<Napi::Float64Array>(value, what, napi_float64_array, "a Float64Array", at::kDouble);
}

at::Tensor integers(const Napi::Value& value, const char* what) {
  const at::Tensor given = over<Napi::Int32Array>(value, what, napi_int32_array, "an Int32Array", at::kInt);
  // Not by an operator: those may start threads of their own on JavaScript's.
  at::Tensor result = at::empty({given.numel()}, at::kLong);
  std::copy_n(given.const_data_ptr<int32_t>(), given.numel(), result.mutable_data_ptr<int64_t>());
  return result;
}

at::Tensor overTensor(const Napi::Value& value, const char* what) {
  if (!value.IsObject()) wrongType(value.Env(), what, "{ data, shape }");
  const auto object = value.As<Napi::Object>();
  const std::vector<int64_t> shape = integerList(field(object, "shape"), what);
  const at::Tensor flat = overFloats(field(object, "data"), what);
  int64_t count = 1;
  for (const int64_t length : shape) {
    if (length < 0 || (length > 0 && count > flat.numel() / length)) count = -1;
    if (count < 0) break;
    count *= length;
  }
  if (count != flat.numel()) {
    throw makeError(
        value.Env(), "ERR_INVALID_ARGUMENT",
        std::string(what) + ": the shape does not have the data's " + std::to_string(flat.numel()) + " elements");
  }
  return flat.view(shape);
}

std::vector<at::Tensor> overFloatArrays(const Napi::Value& value, const char* what, std::vector<Napi::Value>& keep) {
  if (!value.IsArray()) wrongType(value.Env(), what, "an array");
  const auto array = value.As<Napi::Array>();
  std::vector<at::Tensor> result;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    keep.push_back(array[i]);
    result.push_back(overFloats(keep.back(), what));
  }
  return result;
}

Napi::Value toFloat32Array(Napi::Env env, const at::Tensor& tensor) {
  return external<Napi::Float32Array>(env, tensor, at::kFloat);
}

Napi::Value toUint8Array(Napi::Env env, const at::Tensor& tensor) {
  return external<Napi::Uint8Array>(env, tensor, at::kByte);
}

Napi::Value toTensorObject(Napi::Env env, const at::Tensor& tensor) {
  auto result = Napi::Object::New(env);
  auto shape = Napi::Array::New(env);
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    shape.Set(static_cast<uint32_t>(i), Napi::Number::New(env, static_cast<double>(tensor.size(i))));
  }
  result.Set("data", toFloat32Array(env, tensor));
  result.Set("shape", shape);
  return result;
}

Napi::Value toFloat32Arrays(Napi::Env env, const std::vector<at::Tensor>& tensors) {
  auto result = Napi::Array::New(env, tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) result.Set(static_cast<uint32_t>(i), toFloat32Array(env, tensors[i]));
  return result;
}

Napi::Value toFloat64Array(Napi::Env env, const std::vector<double>& values) {
  auto result = Napi::Float64Array::New(env, values.size());
  std::copy(values.begin(), values.end(), result.Data());
  return result;
}

Napi::Value toDoubles(Napi::Env env, const at::Tensor& values) {
  const at::Tensor doubles = values.to(at::kDouble).contiguous();
  const double* first = doubles.const_data_ptr<double>();
  return toFloat64Array(env, {first, first + doubles.numel()});
}

Napi::Value toInt32Array(Napi::Env env, const at::Tensor& integers) {
  const at::Tensor values = integers.contiguous();
  const int64_t* first = values.const_data_ptr<int64_t>();
  auto result = Napi::Int32Array::New(env, static_cast<size_t>(values.numel()));
  std::transform(first, first + values.numel(), result.Data(), [](int64_t v) { return static_cast<int32_t>(v); });
  return result;
}

Napi::Value toParameterList(Napi::Env env, const ParameterLayout& layout) {
  auto result = Napi::Array::New(env);
  uint32_t index = 0;
  for (const Parameter& p : layout.parameters()) {
    auto entry = Napi::Object::New(env);
    auto shape = Napi::Array::New(env);
    for (size_t i = 0; i < p.shape.size(); ++i) {
      shape.Set(static_cast<uint32_t>(i), Napi::Number::New(env, static_cast<double>(p.shape[i])));
    }
    entry.Set("name", Napi::String::New(env, p.name));
    entry.Set("shape", shape);
    result.Set(index++, entry);
  }
  return result;
}

Cancellation cancellation(const Napi::Value& flag, const std::atomic<bool>* closing) {
  if (flag.IsUndefined()) return {nullptr, closing};
  const at::Tensor memory = over<Napi::Int32Array>(flag, "cancel", napi_int32_array, "an Int32Array", at::kInt);
  if (memory.numel() == 0) wrongType(flag.Env(), "cancel", "an Int32Array of one element");
  return {memory.const_data_ptr<int32_t>(), closing};
}

}  // namespace continual
