// Whether steps of a group of processes are those of one: for groups of 1, 2 and 3, here threads with a learner each,
// the weights after some steps of an objective with every kind of source. Prints for each size: the size, the largest
// difference to the weights of one process relative to how far these went, whether all ranks ended alike, and how many
// sums a step takes.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <atomic>
#include <barrier>
#include <iostream>
#include <memory>
#include <thread>
#include <vector>

#include "small_network.h"
#include "training/trainer.h"

namespace {

using continual::SourceKind;
using continual::Target;

constexpr int64_t steps = 4;

/// Sums tensors over threads.
class Sums {
 public:
  explicit Sums(int64_t size) : tensors_(static_cast<size_t>(size)), barrier_(size) {}

  void sum(int64_t rank, const at::Tensor& tensor) {
    tensors_[static_cast<size_t>(rank)] = tensor;
    barrier_.arrive_and_wait();
    if (rank == 0) {
      ++calls;
      sum_ = tensors_[0].clone();
      for (size_t i = 1; i < tensors_.size(); ++i) sum_.add_(tensors_[i]);
    }
    barrier_.arrive_and_wait();
    tensor.copy_(sum_);
    barrier_.arrive_and_wait();
  }

  std::atomic<int64_t> calls{0};

 private:
  std::vector<at::Tensor> tensors_;
  at::Tensor sum_;
  std::barrier<> barrier_;
};

std::unique_ptr<continual::Trainer> makeTrainer(continual::Group group) {
  const continual::NoiseSchedule schedule(continual::linearTable(), at::kCPU);
  return std::make_unique<continual::Trainer>(continual::smallUNet(), schedule, continual::parametrisation("epsilon"),
                                              continual::Compute{at::kCPU, at::kFloat, false}, 1,
                                              continual::AverageDecay{0.9}, std::move(group));
}

/// The weights after the steps.
at::Tensor train(continual::Group group) {
  const auto trainer = makeTrainer(std::move(group));
  trainer->state.freezeTeacher(0);
  std::vector<at::Tensor> ones;
  for (const auto& p : trainer->model.layout().parameters()) ones.push_back(at::ones(p.shape));
  trainer->state.writePenalty("ewc", continual::Shape::diagonal, ones, ones);
  trainer->state.followPath(true);
  const at::Tensor pixels = at::arange(7 * 64).mul(37).remainder(251).to(at::kByte).view({7, 8, 8, 1});
  const auto images = continual::blackImages(at::zeros({7}, at::kLong), 8, 8, 1, at::kByte);
  continual::writeImages(*images, 0, pixels);
  const continual::Pool pool({{images, at::arange(7)}});
  const auto source = [](SourceKind kind) {
    continual::Source s;
    s.kind = kind;
    s.to = 1000;
    if (kind == SourceKind::teacher) s.sampler = {&continual::sampler("ddim"), 2, 1};
    s.symmetric = kind == SourceKind::gaussian;
    return s;
  };
  const continual::Objective objective{
      {source(SourceKind::task), source(SourceKind::teacher), source(SourceKind::gaussian)},
      {{0, Target::data, 0.5, {}}, {1, Target::teacher, 0.3, {}}, {2, Target::teacher, 0.2, {}}},
      {{"ewc", 1e-4}}};
  const continual::Cancellation never(nullptr, nullptr);
  // Five images can't be shared out evenly.
  trainer->begin({objective, {pool, pool, 5, true}, {1e-3}, {0.9, 0.999, 1e-8, 0, 1}})->run(steps, 1e9, never);
  return trainer->state.student.master.clone();
}

}  // namespace

int main() {
  const at::Tensor start = makeTrainer({})->state.student.master.clone(), alone = train({});
  for (int64_t size = 1; size <= 3; ++size) {
    Sums sums(size);
    std::vector<at::Tensor> weights(static_cast<size_t>(size));
    std::vector<std::thread> ranks;
    for (int64_t rank = 0; rank < size; ++rank) {
      ranks.emplace_back([&, rank] {
        weights[static_cast<size_t>(rank)] =
            train({rank, size,
                   [&sums, rank](const at::Tensor& flat, const continual::Cancellation&) { sums.sum(rank, flat); }});
      });
    }
    for (std::thread& rank : ranks) rank.join();
    bool alike = true;
    for (const at::Tensor& own : weights) alike = alike && own.equal(weights[0]);
    const double far = ((weights[0] - alone).norm() / (alone - start).norm()).item<double>();
    std::cout << size << ' ' << far << ' ' << alike << ' ' << sums.calls / steps << '\n';
  }
}
