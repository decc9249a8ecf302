// Where a GPU's time goes: one step of generative distillation of the paper's Fashion-MNIST U-Net at task 2, and DDIM
// sampling, under libtorch's profiler. Prints for each kernel the milliseconds it takes in a step, how often it runs
// and its name; for each of both the time by the clock, and the part of it that the device has work. Arguments: images
// of each kind (128), kernels to print (40). Build it by `cmake --build build --target profile`.
#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "training/trainer.h"

namespace {

namespace profiler = torch::autograd::profiler;

const at::Device device(at::kCUDA, 0);

double milliseconds(const std::function<void()>& work) {
  const c10::impl::VirtualGuardImpl gpu(device.type());
  gpu.synchronizeDevice(device.index());
  const auto start = std::chrono::steady_clock::now();
  work();
  gpu.synchronizeDevice(device.index());
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

/// `work` does `rounds` of what the table is for.
void profile(const std::string& what, int rounds, size_t most, const std::function<void()>& work) {
  work();  // libraries choose, and graphs are recorded
  const double clock = milliseconds(work) / rounds;
  const std::set<torch::profiler::impl::ActivityType> activities{torch::profiler::impl::ActivityType::CUDA};
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
  const double traced = milliseconds(work);
  const auto result = profiler::disableProfiler();

  struct Row {
    double milliseconds = 0;
    int64_t count = 0;
  };
  std::map<std::string, Row> byName;
  double all = 0;
  std::vector<std::pair<int64_t, int64_t>> spans;
  for (const auto& event : result->events()) {
    if (event.deviceType() != at::kCUDA) continue;
    const double ms = static_cast<double>(event.durationNs()) / 1e6;
    Row& row = byName[event.name()];
    row.milliseconds += ms;
    ++row.count;
    all += ms;
    spans.emplace_back(event.startNs(), event.startNs() + event.durationNs());
  }
  std::sort(spans.begin(), spans.end());
  int64_t busy = 0, until = 0;
  for (const auto& [begin, end] : spans) {
    busy += std::max<int64_t>(0, end - std::max(begin, until));
    until = std::max(until, end);
  }
  std::vector<std::pair<std::string, Row>> rows(byName.begin(), byName.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.second.milliseconds > b.second.milliseconds; });
  std::cout << what << ": " << clock << " ms by the clock; traced, " << traced / rounds << " ms, busy for "
            << static_cast<double>(busy) / 1e6 / rounds << " of them by " << spans.size() / static_cast<size_t>(rounds)
            << " kernels, which take " << all / rounds << " ms\n";
  for (size_t i = 0; i < std::min(most, rows.size()); ++i) {
    const auto& [name, row] = rows[i];
    std::cout << row.milliseconds / rounds << '\t' << static_cast<double>(row.count) / rounds << '\t'
              << name.substr(0, 170) << '\n';
  }
  std::cout << std::endl;
}

}  // namespace

int main(int count, char** arguments) {
  const int64_t batch = count > 1 ? std::stoll(arguments[1]) : 128;
  const size_t most = count > 2 ? std::stoull(arguments[2]) : 40;
  using continual::BlockKind;
  const continual::UNetConfig unet{
      .sampleHeight = 32,
      .sampleWidth = 32,
      .inChannels = 1,
      .outChannels = 1,
      .blockOutChannels = {64, 128, 256, 512},
      .down = {BlockKind::plain, BlockKind::plain, BlockKind::plain, BlockKind::attention},
      .up = {BlockKind::attention, BlockKind::plain, BlockKind::plain, BlockKind::plain},
      .layersPerBlock = 1,
  };
  // Linear betas; what numbers they give makes no difference to the time.
  const at::Tensor alpha2 = (1 - at::linspace(1e-4, 0.02, 1000)).cumprod(0);
  continual::Trainer trainer(unet, continual::NoiseSchedule({alpha2, 1 - alpha2}, device),
                             continual::parametrisation("epsilon"), {device, at::kBFloat16, false}, 42, {});
  trainer.state.freezeTeacher(0);
  const auto images = continual::blackImages(at::zeros({1024}, at::kLong), 32, 32, 1, device);
  continual::writeImages(*images, 0, at::randint(0, 256, {1024, 32, 32, 1}, at::kByte));
  const continual::Pool pool({{images, at::arange(1024)}});
  const continual::Cancellation never(nullptr, nullptr);
  continual::Source task, teacher;
  task.to = teacher.to = 1000;
  teacher.kind = continual::SourceKind::teacher;
  teacher.sampler = {&continual::sampler("ddim"), 2};
  const continual::Objective objective{
      {task, teacher}, {{0, continual::Target::data, 0.5, {}}, {1, continual::Target::teacher, 0.375, {}}}, {}};
  const auto session = trainer.begin({objective, {pool, pool, batch, false}, {2e-4}, {0.9, 0.999, 1e-8, 0, 1}});
  constexpr int steps = 20;
  profile("a step", steps, most, [&] {
    const auto report = session->run(steps, 1e9, never);
    if (!report.graphFailure.empty()) std::cout << "no graph: " << report.graphFailure << '\n';
  });
  const continual::SampleConfig samples{.count = 512,
                                        .batchSize = 512,
                                        .sampler = {&continual::sampler("ddim"), 10},
                                        .seed = 1,
                                        .use = {},
                                        .pixels = true};
  profile("512 samples of 10 steps", 1, most,
          [&] { trainer.sampling.sample(continual::StateTensor::student, samples, never); });
}
