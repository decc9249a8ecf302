#include "runtime/team.h"

#include <ATen/Parallel.h>

#include <algorithm>

// Of libtorch's own OpenMP runtime: the threads of operators called on this thread.
extern "C" void omp_set_num_threads(int threads);

namespace continual {

ThreadScope::ThreadScope(int threads) : before_(at::get_num_threads()) {
  if (threads > 0) omp_set_num_threads(threads);
}
ThreadScope::~ThreadScope() { omp_set_num_threads(before_); }

Team Team::forThisMachine() {
  const int threads = at::get_num_threads();
  const int size = std::min(threads, 8);
  return Team(size, threads / size);
}

Team::Team(int64_t size, int threadsEach)
    : size_(size), threadsEach_(threadsEach), failures_(static_cast<size_t>(size)) {
  try {
    for (int64_t member = 1; member < size; ++member) {
      threads_.emplace_back([this, member] { loop(member); });
    }
  } catch (...) {  // no more threads are to be had
    stop();
    throw;
  }
}

Team::~Team() { stop(); }

void Team::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  start_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Team::attempt(int64_t member) {
  try {
    (*work_)(member);
  } catch (...) {
    failures_[static_cast<size_t>(member)] = std::current_exception();
  }
}

void Team::loop(int64_t member) {
  const ThreadScope threads(threadsEach_);
  uint64_t seen = 0;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      start_.wait(lock, [&] { return stopping_ || round_ != seen; });
      if (stopping_) return;
      seen = round_;
      if (member >= count_) continue;
    }
    attempt(member);
    {
      const std::lock_guard lock(mutex_);
      --left_;
    }
    done_.notify_one();
  }
}

void Team::run(int64_t count, const std::function<void(int64_t)>& work) {
  const ThreadScope threads(threadsEach_);
  {
    const std::lock_guard lock(mutex_);
    work_ = &work;
    count_ = count;
    left_ = count - 1;
    ++round_;
  }
  start_.notify_all();
  attempt(0);
  {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return left_ == 0; });
  }
  std::exception_ptr first;
  for (std::exception_ptr& failure : failures_) {
    if (failure && !first) first = failure;
    failure = nullptr;
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace continual
