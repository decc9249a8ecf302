#pragma once

#include <ATen/ATen.h>
#include <napi.h>

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "nn/parameters.h"
#include "runtime/cancellation.h"

/// JavaScript values ↔ C++ values. lib/ has checked options already; here only what would break memory safety is
/// checked (types of arrays, lengths, shapes), and an unexpected value throws a TypeError that names the field.
namespace continual {

Napi::Value field(const Napi::Object& object, const char* name);
/// Neither undefined nor null.
bool has(const Napi::Object& object, const char* name);
double number(const Napi::Object& object, const char* name);
int64_t integer(const Napi::Object& object, const char* name);
/// An integer of at least `lowest` and at most `highest`.
int64_t integer(const Napi::Object& object, const char* name, int64_t lowest, int64_t highest);
/// As in Compute; 0 where it is left out.
int threads(const Napi::Object& object);
/// An integer of 0 … 2⁵³ − 1.
uint64_t seed(const Napi::Object& object);
bool boolean(const Napi::Object& object, const char* name);
std::string string(const Napi::Object& object, const char* name);
Napi::Object object(const Napi::Object& object, const char* name);
std::vector<Napi::Object> elements(const Napi::Value& value, const char* what);
std::vector<std::string> strings(const Napi::Object& object, const char* name);
std::vector<int64_t> integerList(const Napi::Value& value, const char* what);
/// Height and width of at most `highest` each: two integers, or one for both.
std::pair<int64_t, int64_t> sides(const Napi::Object& object, const char* name, int64_t highest);
/// Bound of lib/validation/size.ts too.
constexpr int64_t mostChannels = 16;
/// The value that the word in a field stands for.
template <class T>
T choose(const Napi::Object& object, const char* name, std::initializer_list<std::pair<const char*, T>> choices) {
  const std::string found = string(object, name);
  for (const auto& [word, value] : choices) {
    if (found == word) return value;
  }
  throw Napi::TypeError::New(object.Env(), std::string(name) + ": unknown value '" + found + "'");
}

/// A tensor over the memory of a typed array: valid only while the array is kept.
at::Tensor overBytes(const Napi::Value& array, const char* what);
at::Tensor overFloats(const Napi::Value& array, const char* what);
at::Tensor overDoubles(const Napi::Value& array, const char* what);
/// Int32Array → its own int64 tensor.
at::Tensor integers(const Napi::Value& array, const char* what);
/// { data: Float32Array, shape } over its memory; the length is checked against the shape.
at::Tensor overTensor(const Napi::Value& value, const char* what);
/// Tensors over the memory of an array of Float32Arrays, which are added to `keep`.
std::vector<at::Tensor> overFloatArrays(const Napi::Value& value, const char* what, std::vector<Napi::Value>& keep);
/// Tensors over the memory of an array of Float32Arrays, which are added to `keep`.
std::vector<at::Tensor> overFloatArrays(const Napi::Value& value, const char* what, std::vector<Napi::Value>& keep);

/// Typed arrays over a tensor's memory, which they keep alive (a copy where it is not contiguous on the CPU).
Napi::Value toFloat32Array(Napi::Env env, const at::Tensor& tensor);
Napi::Value toUint8Array(Napi::Env env, const at::Tensor& tensor);
Napi::Value toTensorObject(Napi::Env env, const at::Tensor& tensor);
Napi::Value toFloat32Arrays(Napi::Env env, const std::vector<at::Tensor>& tensors);
Napi::Value toFloat64Array(Napi::Env env, const std::vector<double>& values);
/// The same of numbers of any type, on the CPU.
Napi::Value toDoubles(Napi::Env env, const at::Tensor& values);
/// `integers`: int64, on the CPU.
Napi::Value toInt32Array(Napi::Env env, const at::Tensor& integers);
Napi::Value toParameterList(Napi::Env env, const ParameterLayout& layout);

Cancellation cancellation(const Napi::Value& flag, const std::atomic<bool>* closing);

}  // namespace continual
