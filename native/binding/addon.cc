#include "binding/addon.h"

#include "runtime/tensor_memory.h"

namespace continual {

namespace {

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  useTensorMemory();
  auto* addon = new AddonState(env);
  env.SetInstanceData(addon);  // deleted with the environment
  // The engine must stop while the environment's memory is still there: typed arrays that jobs read, and references.
  env.AddCleanupHook([addon] { addon->engine.close(); });
  defineImages(env, exports);
  defineLearner(env, exports);
  defineSession(env, exports);
  defineClassifier(env, exports);
  defineDiffusion(env, exports);
  defineEvaluation(env, exports);
  defineTorchScript(env, exports);
  defineGroup(env, exports);
  defineSystem(env, exports);
  return exports;
}

}  // namespace

}  // namespace continual

static Napi::Object initialiseAddon(Napi::Env env, Napi::Object exports) { return continual::initialise(env, exports); }

NODE_API_MODULE(continual_diffusion, initialiseAddon)
