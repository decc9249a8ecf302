#include "binding/sampling.h"

#include "binding/configs.h"
#include "binding/draws.h"
#include "binding/values.h"
#include "runtime/error.h"

namespace continual {

SampleConfig sampleConfig(const Napi::Object& options, const UNet& unet, int64_t timesteps) {
  const auto use = object(options, "use");
  SampleConfig config{
      .count = integer(options, "count", 1, int64_t{1} << 40),
      .batchSize = integer(options, "batchSize", 1, int64_t{1} << 40),
      .sampler = samplerConfig(object(options, "sampler"), timesteps),
      .seed = continual::seed(options),
      .use = {static_cast<uint64_t>(integer(use, "purpose", 0, 15)),
              static_cast<uint64_t>(integer(use, "part", 0, (int64_t{1} << 32) - 1))},
      .turn = has(options, "turn") ? integer(options, "turn", 0, int64_t{1} << 20) : 0,
      .turns = has(options, "turns") ? integer(options, "turns", 1, int64_t{1} << 20) : 1,
      .pixels = string(options, "format") == "uint8",
  };
  config.labels = labelsFrom(field(options, "labels"), unet, config.count);
  if (has(options, "stopTimesteps")) {
    config.stop = integers(field(options, "stopTimesteps"), "stopTimesteps");
    if (config.stop.numel() != config.count || config.stop.min().item<int64_t>() < 0 ||
        config.stop.max().item<int64_t>() >= timesteps) {
      throw Error("ERR_INVALID_ARGUMENT",
                  "stopTimesteps: expected one per image, each in 0 … " + std::to_string(timesteps - 1));
    }
  }
  const UNetConfig& network = unet.config();
  const auto given = [&](const char* name, std::vector<int64_t> shape) {
    if (!has(options, name)) return at::Tensor();
    const at::Tensor numbers = overFloats(field(options, name), name);
    shape.insert(shape.end(), {config.count, network.inChannels, network.sampleHeight, network.sampleWidth});
    if (numbers.numel() != c10::multiply_integers(shape)) {
      throw Error("ERR_INVALID_ARGUMENT", std::string(name) + ": expected count × C × H × W numbers for each noise");
    }
    return numbers.view(shape).clone();
  };
  config.start = given("start", {});
  config.stepNoise = given("stepNoise", {config.sampler.noises()});
  return config;
}

}  // namespace continual
