#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "binding/addon.h"
#include "runtime/team.h"

namespace continual {

/// A JavaScript object that owns a native value until `dispose()`. Jobs under way hold their own reference, so a value
/// never goes away under them; memory is reported to V8, so that the garbage collector knows what it would free.
template <class Self, class Value>
class Handle : public Napi::ObjectWrap<Self> {
 public:
  explicit Handle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Self>(info) {}

  static Napi::Object wrap(Napi::Env env, const Napi::FunctionReference& constructor, std::shared_ptr<Value> value) {
    const Napi::Object object = constructor.New({});
    Self* self = Napi::ObjectWrap<Self>::Unwrap(object);
    object.TypeTag(&Self::tag);
    self->value_ = std::move(value);
    self->account(env, self->value_->bytes());
    return object;
  }

  /// The native value behind `object`, which must be one of ours. Throws ERR_DISPOSED.
  static std::shared_ptr<Value> from(const Napi::Value& object) {
    if (!object.IsObject() || !object.As<Napi::Object>().CheckTypeTag(&Self::tag)) {
      throw Napi::TypeError::New(object.Env(), std::string("expected ") + Self::name);
    }
    return Napi::ObjectWrap<Self>::Unwrap(object.As<Napi::Object>())->value();
  }

  std::shared_ptr<Value> value() {
    if (!value_) throw makeError(this->Env(), "ERR_DISPOSED", std::string(Self::name) + " was disposed of");
    return value_;
  }

  void dispose(const Napi::CallbackInfo& info) {
    value_.reset();
    account(info.Env(), 0);
  }

  /// Reports to V8 that the value now holds so many bytes. Nothing, once it was disposed of.
  void account(Napi::Env env, int64_t bytes) {
    const int64_t now = value_ ? bytes : 0;
    Napi::MemoryManagement::AdjustExternalMemory(env, now - reported_);
    reported_ = now;
  }

  void Finalize(Napi::BasicEnv env) override { Napi::MemoryManagement::AdjustExternalMemory(env, -reported_); }

 protected:
  /// Runs `work(value)` on the engine thread, by the threads that the value computes with; its result goes through
  /// `convert`.
  template <class Work, class Convert>
  Napi::Value run(Napi::Env env, const std::vector<Napi::Value>& keep, Work work, Convert convert) {
    return state(env).engine.run(
        env, keep,
        [value = value(), work = std::move(work)] {
          const ThreadScope scope(threadsOf(*value));
          return work(*value);
        },
        std::move(convert));
  }
  /// The same for work without a result.
  template <class Work>
  Napi::Value run(Napi::Env env, const std::vector<Napi::Value>& keep, Work work) {
    auto both = [work = std::move(work)](Value& value) {
      work(value);
      return true;
    };
    return run(env, keep, std::move(both), [](Napi::Env env, bool) { return env.Undefined(); });
  }

 private:
  static int threadsOf(const Value& value) {
    if constexpr (requires { value.threads(); }) {
      return value.threads();
    } else {
      return 0;
    }
  }

  std::shared_ptr<Value> value_;
  int64_t reported_ = 0;
};

}  // namespace continual
