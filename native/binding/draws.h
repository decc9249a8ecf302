#pragma once

#include <napi.h>

#include <vector>

#include "training/draws.h"

namespace continual {

/// What JavaScript sees of draws on the CPU: an object of the fields that are defined.
Napi::Value toDraws(Napi::Env env, const Draws& draws);
Napi::Value toDrawsList(Napi::Env env, const std::vector<Draws>& draws);
/// The inverse, one entry for each of the objective's sources. Copies: the draws are small, and the caller may go on
/// changing its arrays. `timesteps`: T.
std::vector<Draws> drawsFrom(const Napi::Value& value, const Objective& objective, int64_t timesteps);

/// Throws ERR_INVALID_ARGUMENT unless they are a batch of images with a timestep each, which index the schedule's
/// table.
void checkBatch(const at::Tensor& images, const at::Tensor& timesteps, int64_t total, const char* what);
/// Images with timesteps, of an Int32Array or, with fractions, of a Float32Array; which are noise levels of a network
/// that is told these, each more than 0. Copies.
ModelInput modelInput(const Napi::Value& xt, const Napi::Value& timesteps, const Napi::Value& labels,
                      const DiffusionModel& model);

/// Labels for `count` images, or undefined: int64, or float32 vectors where the network takes such.
at::Tensor labelsFrom(const Napi::Value& value, const UNet& unet, int64_t count);

std::vector<Draws> moved(std::vector<Draws> draws, at::Device device);

}  // namespace continual
