#include "evaluation/denoising_loss.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "runtime/random.h"

namespace continual {

std::vector<double> denoisingLoss(const DiffusionModel& model, const Weights& weights, const Pool& pool,
                                  const std::vector<int64_t>& edges, int64_t samples, int64_t batchSize, uint64_t seed,
                                  const Cancellation& cancellation) {
  const c10::NoGradGuard noGrad;
  const at::Device device = model.how.device;
  const int64_t draws = pool.size() * samples;
  std::vector<double> losses;
  for (size_t band = 0; band + 1 < edges.size(); ++band) {
    // Two streams, so that each is read on from batch to batch whatever the other takes.
    Random ofTimesteps(seed, Purpose::evaluation, 2 * band), ofNoise(seed, Purpose::evaluation, 2 * band + 1);
    const at::Tensor timesteps = ofTimesteps.integers(draws, edges[band], edges[band + 1]).to(device);
    at::Tensor sum = at::zeros({}, at::TensorOptions(device).dtype(at::kDouble));
    for (int64_t first = 0; first < draws; first += batchSize) {
      cancellation.check();
      const PrecisionScope precision(model.how);
      const int64_t length = std::min(batchSize, draws - first);
      std::vector<int64_t> positions(static_cast<size_t>(length));
      for (int64_t i = 0; i < length; ++i) positions[static_cast<size_t>(i)] = (first + i) / samples;
      const at::Tensor x0 = pool.images(positions).to(device), t = timesteps.narrow(0, first, length);
      const int64_t numbers = x0[0].numel();
      const at::Tensor whole = ofNoise.normal({length, wholeFours(numbers)});
      const at::Tensor noise = whole.narrow(1, 0, numbers).reshape(x0.sizes()).to(device);
      const at::Tensor labels = model.unet.isConditional() ? pool.labels(positions).to(device) : at::Tensor();
      const at::Tensor prediction = model.predict(weights, {model.schedule.addNoise(x0, noise, t), t, labels});
      const at::Tensor error = prediction - model.target(x0, noise, t);
      sum += error.square().flatten(1).mean(1).sum(std::nullopt, false, at::kDouble);
    }
    losses.push_back(sum.item<double>() / static_cast<double>(draws));
  }
  return losses;
}

}  // namespace continual
