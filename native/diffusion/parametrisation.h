#pragma once

#include <ATen/ATen.h>

#include <string>

#include "diffusion/noise_schedule.h"

namespace continual {

/// The clean image and the noise that a network sees in x_t.
struct Estimate {
  at::Tensor x0, epsilon;
  at::Tensor variance = {};  // what it says of its variance beside them, of x0's shape; undefined where it says nothing
};

/// What a network predicts, as functions of the levels at its timesteps. A new one is a row of the table in
/// parametrisation.cc.
struct Parametrisation {
  const char* name;
  /// What a perfect network would predict.
  at::Tensor (*target)(const Levels& at, const at::Tensor& x0, const at::Tensor& noise);
  /// `tiny` is added to a square that is divided by; 0 divides by the square itself, or by the smallest number.
  Estimate (*estimate)(const Levels& at, const at::Tensor& xt, const at::Tensor& prediction, double tiny);
  /// min-SNR's factor of an image's squared error (arXiv 2303.09556): min(SNR, γ) for the error in x₀, carried over to
  /// the error in what is predicted.
  at::Tensor (*minSnrWeight)(const Levels& at, double gamma);
  /// What x_t is multiplied with before the network sees it; null for 1.
  at::Tensor (*inputScale)(const Levels& at) = nullptr;
};

/// By its name in lib/config/schedule.ts. Throws ERR_INVALID_ARGUMENT.
const Parametrisation& parametrisation(const std::string& name);

}  // namespace continual
