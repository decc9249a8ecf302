#include "evaluation/torch_script.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include "data/images.h"
#include "runtime/error.h"
#include "runtime/failure.h"

namespace continual {

namespace {

constexpr int64_t batchSize = 64;  // bounds the memory of the activations
constexpr int64_t anySide = 64;    // of the image that a network for images of any size is tried on

torch::jit::Module open(const std::string& file, at::Device device) {
  try {
    torch::jit::Module module = torch::jit::load(file, device);
    module.eval();
    return module;
  } catch (const std::exception& error) {
    if (machineFailure(error)) throw;
    throw Error(
        "ERR_BAD_CHECKPOINT",
        file + ": cannot be opened as TorchScript; expected a file that torch.jit.save wrote. " + messageOf(error));
  }
}

}  // namespace

struct TorchScript::Module {
  torch::jit::Module value;
};

TorchScript::TorchScript(const Options& options, const Compute& compute)
    : options_(options), how_(compute), module_(std::make_unique<Module>(Module{open(options.file, compute.device)})) {
  const auto [height, width] = options.size.first == 0 ? std::pair{anySide, anySide} : options.size;
  dimension_ = run(at::zeros({1, height, width, options.channels}, at::kByte)).size(1);
}

TorchScript::~TorchScript() = default;

int64_t TorchScript::bytes() const {
  int64_t total = 0;
  for (const at::Tensor& t : module_->value.parameters()) total += static_cast<int64_t>(t.nbytes());
  for (const at::Tensor& t : module_->value.buffers()) total += static_cast<int64_t>(t.nbytes());
  return total;
}

at::Tensor TorchScript::features(const at::Tensor& pixels) {
  std::vector<at::Tensor> features;
  for (const at::Tensor& batch : pixels.split(batchSize)) {
    features.push_back(run(batch));
    if (features.back().size(1) != dimension_) {
      throw Error("ERR_INVALID_ARGUMENT", options_.file + ": " + std::to_string(features.back().size(1)) +
                                              " features, where there were " + std::to_string(dimension_) + " before");
    }
  }
  return at::cat(features);
}

at::Tensor TorchScript::run(const at::Tensor& pixels) {
  const auto& [file, size, range, channels, arguments, output] = options_;
  const auto fail = [&file = file](const std::string& what) -> Error {
    return {"ERR_INVALID_ARGUMENT", file + ": " + what};
  };
  const int64_t count = pixels.size(0), found = pixels.size(3);
  if (found != channels && found != 1) {
    throw fail("the images have " + std::to_string(found) + " channels; expected 1, or the network's " +
               std::to_string(channels));
  }
  const c10::NoGradGuard noGrad;
  const PrecisionScope precision(how_);
  at::Tensor x = pixels.to(how_.device).permute({0, 3, 1, 2}).to(at::kFloat).contiguous();
  if (const auto [height, width] = size; height != 0 && (x.size(2) != height || x.size(3) != width)) {
    x = at::_upsample_bilinear2d_aa(x, {height, width}, /*align_corners=*/false);
  }
  x = x.mul_((range.second - range.first) / 255).add_(range.first);
  if (found != channels) x = x.expand({-1, channels, -1, -1}).contiguous();

  c10::IValue result;
  try {
    torch::jit::Kwargs named;
    const c10::FunctionSchema& schema = module_->value.get_method("forward").function().getSchema();
    for (const auto& [name, value] : arguments) {
      const auto index = schema.argumentIndexWithName(name);
      const auto* given = std::get_if<double>(&value);
      // JavaScript has one kind of number, TorchScript two.
      if (given == nullptr) {
        named[name] = std::get<bool>(value);
      } else if (index && *schema.arguments()[static_cast<size_t>(*index)].type() == *c10::IntType::get()) {
        named[name] = static_cast<int64_t>(*given);
      } else {
        named[name] = *given;
      }
    }
    result = module_->value.forward({x}, named);
  } catch (const std::exception& error) {
    if (machineFailure(error)) throw;
    throw fail("the network failed on images of " + std::to_string(count) + " × " + std::to_string(channels) + " × " +
               std::to_string(x.size(2)) + " × " + std::to_string(x.size(3)) + ". " + messageOf(error));
  }

  if (const auto* index = std::get_if<int64_t>(&output)) {
    if (!result.isTuple() && !result.isList() && !result.isTensorList()) {
      throw fail("the network's output is a " + result.tagKind() +
                 "; expected a tuple or a list, as the option output is a position");
    }
    const std::vector<c10::IValue> parts =
        result.isTuple() ? std::vector<c10::IValue>(result.toTupleRef().elements()) : result.toListRef().vec();
    if (*index >= static_cast<int64_t>(parts.size())) {
      throw fail("the network's output has " + std::to_string(parts.size()) +
                 " parts; expected more than the option output, which is " + std::to_string(*index));
    }
    result = parts[static_cast<size_t>(*index)];
  } else if (const auto* key = std::get_if<std::string>(&output)) {
    if (!result.isGenericDict() || !result.toGenericDict().contains(*key)) {
      throw fail("the network's output is a " + result.tagKind() + "; expected a dictionary with the key '" + *key +
                 "', which is the option output");
    }
    result = result.toGenericDict().at(*key);
  }
  if (!result.isTensor()) {
    throw fail("the network's output is a " + result.tagKind() +
               "; expected a tensor: the option output says which part of it the features are");
  }
  at::Tensor features = result.toTensor();
  // N × D × 1 × 1, as pooling leaves it.
  while (features.dim() > 2 && features.size(-1) == 1) features = features.squeeze(-1);
  if (features.dim() != 2 || features.size(0) != count || features.size(1) < 1) {
    throw fail("the network's output for " + std::to_string(count) + " images has the shape " +
               c10::str(features.sizes()) + "; expected " + std::to_string(count) + " rows of features");
  }
  features = features.to(at::kCPU, at::kFloat).contiguous();
  if (!features.isfinite().all().item<bool>()) throw fail("some of the features are not finite");
  return features;
}

}  // namespace continual
