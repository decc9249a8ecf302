#pragma once

#include <ATen/ATen.h>

#include "diffusion/noise_schedule.h"
#include "nn/unet_config.h"

namespace continual {

/// A U-Net for grey images of 8 × 8, with attention at the lower of its two resolutions.
inline UNetConfig smallUNet() {
  return {.sampleHeight = 8,
          .sampleWidth = 8,
          .inChannels = 1,
          .outChannels = 1,
          .blockOutChannels = {16, 32},
          .down = {BlockKind::plain, BlockKind::attention},
          .up = {BlockKind::attention, BlockKind::plain},
          .layersPerBlock = 1,
          .normNumGroups = 8,
          .flipSinToCos = false};
}

/// The linear schedule of DDPM (arXiv 2006.11239): α² and σ² of 1000 timesteps.
inline ScheduleTable linearTable() {
  const at::Tensor alpha2 = (1 - at::linspace(1e-4, 0.02, 1000)).cumprod(0);
  return {alpha2, 1 - alpha2};
}

}  // namespace continual
