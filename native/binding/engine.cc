#include "binding/engine.h"

#include <chrono>

#include "runtime/tensor_memory.h"

namespace continual {

Napi::Error makeError(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

Napi::Value guarded(Napi::Env env, const std::function<Napi::Value()>& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    const auto [code, message] = currentFailure();
    throw makeError(env, code, message);
  }
}

Engine::Engine(Napi::Env env) {
  const napi_status status =
      napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "continual-diffusion engine"), 0, 1,
                                      nullptr, nullptr, this, &Engine::settle, &finished_);
  if (status != napi_ok) throw Napi::Error::New(env, "continual-diffusion: cannot create a thread-safe function");
  napi_unref_threadsafe_function(env, finished_);  // only a pending promise keeps the process alive
  thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() { close(); }

void Engine::close() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  thread_.join();
  waiting_.clear();
  done_.clear();
  napi_release_threadsafe_function(finished_, napi_tsfn_abort);
}

void Engine::atEnd(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  last_.push_back(std::move(work));
}

void Engine::submit(Napi::Env env, std::unique_ptr<Job> job) {
  if (closing_) throw makeError(env, "ERR_ENGINE", "the process is exiting: no more work is taken");
  if (pending_++ == 0) napi_ref_threadsafe_function(env, finished_);
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Engine::loop() {
  for (;;) {
    std::unique_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      const auto called = [this] { return closing_ || !waiting_.empty(); };
      if (!wake_.wait_for(lock, std::chrono::seconds(1), called)) {
        // Nothing to do, so that what the last jobs left free isn't soon needed again.
        trimTensorMemory();
        wake_.wait(lock, called);
      }
      if (closing_) break;
      job = std::move(waiting_.front());
      waiting_.pop_front();
    }
    try {
      job->work();
    } catch (...) {
      job->failure = currentFailure();
    }
    {
      const std::lock_guard lock(mutex_);
      done_.push_back(std::move(job));
    }
    napi_call_threadsafe_function(finished_, nullptr, napi_tsfn_nonblocking);
  }
  for (const auto& work : last_) work();  // nobody adds to them any more
}

void Engine::settle(napi_env rawEnv, napi_value, void* context, void*) {
  if (rawEnv == nullptr) return;  // the environment is going away
  auto* self = static_cast<Engine*>(context);
  const Napi::Env env(rawEnv);
  const Napi::HandleScope scope(env);
  std::unique_ptr<Job> job;
  {
    const std::lock_guard lock(self->mutex_);
    if (self->done_.empty()) return;
    job = std::move(self->done_.front());
    self->done_.pop_front();
  }
  if (--self->pending_ == 0) napi_unref_threadsafe_function(env, self->finished_);
  try {
    try {
      if (job->failure) {
        job->deferred.Reject(makeError(env, job->failure->code, job->failure->message).Value());
      } else {
        job->deferred.Resolve(job->result(env));
      }
    } catch (const Napi::Error& error) {
      job->deferred.Reject(error.Value());
    } catch (...) {
      const auto [code, message] = currentFailure();
      job->deferred.Reject(makeError(env, code, message).Value());
    }
  } catch (const Napi::Error&) {
    // A worker that is being terminated refuses every call: nobody waits for this promise any more.
  }
}

}  // namespace continual
