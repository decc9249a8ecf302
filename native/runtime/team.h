#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace continual {

/// Threads that split a batch between them, each with its share of libtorch's own threads. A small network's operators
/// are too short to be shared by threads one by one: splitting the batch meets once a step, not once an operator. Sums
/// are added in the members' order: a result depends on their number, but never on timing.
class Team {
 public:
  /// `size` members, the caller of `run` among them, each with `threadsEach` threads for its operators.
  Team(int64_t size, int threadsEach);
  /// As many members as libtorch has threads, but at most eight: with more, a part of a batch of 32 has few images.
  static Team forThisMachine();
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int64_t size() const { return size_; }
  int threadsEach() const { return threadsEach_; }

  /// Runs `work(member)` for members 0 … count − 1 (count ≤ size) at once; returns when all are done and rethrows what
  /// the first of them threw.
  void run(int64_t count, const std::function<void(int64_t)>& work);

 private:
  void loop(int64_t member);
  void attempt(int64_t member);
  void stop();

  int64_t size_;
  int threadsEach_;
  std::mutex mutex_;
  std::condition_variable start_, done_;
  const std::function<void(int64_t)>* work_ = nullptr;
  int64_t count_ = 0, left_ = 0;
  uint64_t round_ = 0;
  bool stopping_ = false;
  std::vector<std::exception_ptr> failures_;
  std::vector<std::thread> threads_;
};

/// While it lives, operators called on this thread use `threads` threads; 0: as many as before.
class ThreadScope {
 public:
  explicit ThreadScope(int threads);
  ~ThreadScope();
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_;
};

}  // namespace continual
