#pragma once

#include <vector>

#include "data/images.h"
#include "diffusion/model.h"
#include "runtime/cancellation.h"

namespace continual {

/// Mean squared error to what a perfect network would predict over the images of `pool`, `samples` draws of timestep
/// and noise each, in each band of timesteps; band b reaches from edges[b] to before edges[b + 1]. The draws are a pure
/// function of (seed, band, image); the batch size only bounds memory.
std::vector<double> denoisingLoss(const DiffusionModel& model, const Weights& weights, const Pool& pool,
                                  const std::vector<int64_t>& edges, int64_t samples, int64_t batchSize, uint64_t seed,
                                  const Cancellation& cancellation);

}  // namespace continual
