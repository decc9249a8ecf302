#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "runtime/compute.h"

namespace continual {

/// A network of the user's from a TorchScript file. It is the user's code: whatever goes wrong in it is an error that
/// names the file.
class TorchScript {
 public:
  struct Options {
    std::string file;
    std::pair<int64_t, int64_t> size;  // height and width that the network is given; 0: it takes images of any size
    std::pair<double, double> range;   // what the bytes 0 and 255 become
    int64_t channels;                  // grey images are repeated to as many
    std::map<std::string, std::variant<bool, double>> arguments;  // of `forward`, besides the images
    std::variant<std::monostate, int64_t, std::string> output;    // which part of a tuple, list or dictionary
  };

  /// Opens the file, and asks the network about one black image. Throws ERR_BAD_CHECKPOINT, ERR_INVALID_ARGUMENT.
  TorchScript(const Options& options, const Compute& compute);
  ~TorchScript();
  TorchScript(const TorchScript&) = delete;
  TorchScript& operator=(const TorchScript&) = delete;

  int64_t dimension() const { return dimension_; }
  int threads() const { return how_.threads; }
  int64_t bytes() const;
  /// uint8 N×H×W×C → float32 N × dimension, on the CPU.
  at::Tensor features(const at::Tensor& pixels);

 private:
  struct Module;  // keeps the slow headers of torch::jit out of here

  at::Tensor run(const at::Tensor& pixels);

  Options options_;
  Compute how_;
  std::unique_ptr<Module> module_;
  int64_t dimension_ = 0;
};

}  // namespace continual
