#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "runtime/error.h"
#include "runtime/failure.h"

namespace continual {

/// The one thread of a Node environment on which all of libtorch's work runs, in order. JavaScript's thread hands it
/// jobs and gets promises; when the environment goes away, the running job is asked to stop, the thread is joined, and
/// what was waiting is dropped.
class Engine {
 public:
  explicit Engine(Napi::Env env);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Runs `work()` on the engine thread, then `convert(env, result)` on JavaScript's, and settles the promise with it.
  /// `keep` holds the JavaScript values whose memory `work` reads or writes until then.
  template <class Work, class Convert>
  Napi::Value run(Napi::Env env, const std::vector<Napi::Value>& keep, Work work, Convert convert) {
    using Result = std::invoke_result_t<Work>;
    auto job = std::make_unique<TypedJob<Work, Convert, Result>>(env, std::move(work), std::move(convert));
    for (const Napi::Value& value : keep) {
      if (value.IsObject()) job->kept.push_back(Napi::Persistent(value.As<Napi::Object>()));
    }
    const Napi::Value promise = job->deferred.Promise();
    submit(env, std::move(job));
    return promise;
  }

  /// Set when the environment is going away.
  const std::atomic<bool>* closing() const { return &closing_; }
  /// Stops and joins the thread; called while the environment still lives.
  void close();
  /// To be done on the engine thread as the last thing that it does.
  void atEnd(std::function<void()> work);

 private:
  struct Job {
    explicit Job(Napi::Env env) : deferred(env) {}
    virtual ~Job() = default;
    virtual void work() = 0;                               // on the engine thread
    virtual Napi::Value result(const Napi::Env& env) = 0;  // on JavaScript's thread

    Napi::Promise::Deferred deferred;
    std::vector<Napi::ObjectReference> kept;
    std::optional<Failure> failure;
  };
  template <class Work, class Convert, class Result>
  struct TypedJob : Job {
    TypedJob(Napi::Env env, Work work_, Convert convert_)
        : Job(env), compute(std::move(work_)), convert(std::move(convert_)) {}
    void work() override { value.emplace(compute()); }
    Napi::Value result(const Napi::Env& env) override { return convert(env, std::move(*value)); }

    Work compute;
    Convert convert;
    std::optional<Result> value;
  };

  void submit(Napi::Env env, std::unique_ptr<Job> job);
  void loop();
  static void settle(napi_env env, napi_value callback, void* context, void* data);

  napi_threadsafe_function finished_ = nullptr;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> waiting_;
  std::deque<std::unique_ptr<Job>> done_;
  std::vector<std::function<void()>> last_;
  std::atomic<bool> closing_{false};
  int64_t pending_ = 0;  // JavaScript's thread only
};

/// A JavaScript error with our code, for calls that fail before they reach the engine thread.
Napi::Error makeError(Napi::Env env, const std::string& code, const std::string& message);
/// Runs `body` and turns its C++ exceptions into JavaScript ones.
Napi::Value guarded(Napi::Env env, const std::function<Napi::Value()>& body);

}  // namespace continual
