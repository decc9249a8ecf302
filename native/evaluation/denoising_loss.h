#pragma once

#include <vector>

#include "data/images.h"
#include "diffusion/sampler.h"
#include "runtime/cancellation.h"

namespace continual {

/// Mean squared error to the schedule's target over the images of `pool`, `samples` draws of timestep and noise each,
/// in each band of timesteps; band b reaches from edges[b] to before edges[b + 1]. The draws are a pure function of
/// (seed, band, image); the batch size only bounds memory.
std::vector<double> denoisingLoss(const NoiseSchedule& schedule, const Denoiser& denoiser, const Pool& pool,
                                  const std::vector<int64_t>& edges, int64_t samples, int64_t batchSize, uint64_t seed,
                                  at::Device device, const Cancellation& cancellation);

}  // namespace continual
