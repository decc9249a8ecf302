#include "binding/group.h"

#include <functional>
#include <memory>
#include <string>

#include "binding/handle.h"
#include "binding/values.h"
#include "distributed/join.h"
#include "distributed/mpi.h"
#include "distributed/nccl.h"

namespace continual {

namespace {

/// How a process is to leave its group: JavaScript's thread says so before the engine thread ends.
struct Leaving {
  double seconds = 20;
  std::string why = "has ended";
};

struct GroupValue {
  Group group;
  std::string transport;
  std::function<void(const std::string& said)> lose;
  std::shared_ptr<Leaving> leaving = std::make_shared<Leaving>();

  int64_t bytes() const { return 0; }
};

/// Over the memory of a typed array. Floats are summed as numbers or, where only one process has something else than
/// zeros, by their bits, which adding to a zero would not always keep.
at::Tensor overArray(const Napi::Value& array, bool bits) {
  if (!array.IsTypedArray()) throw Napi::TypeError::New(array.Env(), "expected a typed array");
  switch (array.As<Napi::TypedArray>().TypedArrayType()) {
    case napi_uint8_array:
      return overBytes(array, "array");
    case napi_float32_array: {
      const at::Tensor floats = overFloats(array, "array");
      return bits ? floats.view(at::kInt) : floats;
    }
    case napi_float64_array:
      return overDoubles(array, "array");
    default:
      throw Napi::TypeError::New(array.Env(), "expected a Uint8Array, Float32Array or Float64Array");
  }
}

class GroupHandle : public Handle<GroupHandle, GroupValue> {
 public:
  static constexpr const char* name = "NativeGroup";
  static constexpr napi_type_tag tag{0x7be02d4196c84f15, 0x8a41c3d97f60be22};
  using Handle::Handle;

  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, name,
                       {InstanceAccessor<&GroupHandle::rank>("rank"), InstanceAccessor<&GroupHandle::size>("size"),
                        InstanceAccessor<&GroupHandle::transport>("transport"),
                        InstanceMethod<&GroupHandle::sum>("sum"), InstanceMethod<&GroupHandle::leaving>("leaving"),
                        InstanceMethod<&GroupHandle::lose>("lose"), InstanceMethod("dispose", &GroupHandle::dispose)});
  }

 private:
  Napi::Value rank(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(value()->group.rank));
  }
  Napi::Value size(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(value()->group.size));
  }
  Napi::Value transport(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), value()->transport); }

  Napi::Value sum(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&] {
      const at::Tensor flat = overArray(info[0], info[1].ToBoolean());
      const Cancellation cancel = cancellation(info[2], state(env).engine.closing());
      return run(env, {info[0], info[2]}, [=](GroupValue& value) { value.group.sum(flat, cancel); });
    });
  }

  Napi::Value leaving(const Napi::CallbackInfo& info) {
    *value()->leaving = {info[0].ToNumber().DoubleValue(), info[1].ToString()};
    return info.Env().Undefined();
  }

  Napi::Value lose(const Napi::CallbackInfo& info) {
    value()->lose(info[0].ToString());
    return info.Env().Undefined();
  }
};

/// By { library }, of MPI, or { address: { host, port, rank, size, device } }.
Napi::Value joinGroup(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto options = info[0].As<Napi::Object>();
    std::function<JoinedGroup()> join;
    if (has(options, "library")) {
      join = [library = string(options, "library")] { return joinByMpi(library); };
    } else {
      const auto at = object(options, "address");
      const int64_t size = integer(at, "size", 2, 1 << 20);
      join = [member = Member{string(at, "host"), integer(at, "port", 1, 65535), integer(at, "rank", 0, size - 1), size,
                              integer(at, "device", 0, 127)}] { return joinByAddress(member); };
    }
    const at::ScalarType gradients = string(options, "gradients") == "bf16" ? at::kBFloat16 : at::kFloat;
    Engine& engine = state(env).engine;
    return engine.run(
        env, {},
        [join, gradients, &engine] {
          const JoinedGroup joined = join();
          auto value = std::make_shared<GroupValue>(GroupValue{joined.group, joined.transport, joined.lose});
          value->group.gradients = gradients;
          engine.atEnd([leave = joined.leave, how = value->leaving] { leave(how->seconds, how->why); });
          return value;
        },
        [](Napi::Env env, std::shared_ptr<GroupValue> group) -> Napi::Value {
          return GroupHandle::wrap(env, state(env).group, std::move(group));
        });
  });
}

/// For a trial process only: a library may do anything as it is loaded.
Napi::Value transportVersion(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string version = info[0].IsString() ? mpiVersion(info[0].ToString()) : Nccl::version();
    return Napi::String::New(info.Env(), version);
  });
}

}  // namespace

Group groupOf(const Napi::Object& options) {
  return has(options, "group") ? GroupHandle::from(field(options, "group"))->group : Group{};
}

void defineGroup(Napi::Env env, Napi::Object exports) {
  state(env).group = Napi::Persistent(GroupHandle::define(env));
  exports.Set("joinGroup", Napi::Function::New<joinGroup>(env, "joinGroup"));
  exports.Set("transportVersion", Napi::Function::New<transportVersion>(env, "transportVersion"));
}

}  // namespace continual
