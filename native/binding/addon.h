#pragma once

#include <napi.h>

#include "binding/engine.h"

namespace continual {

/// What one Node environment (the main thread, or one worker) has of the addon.
struct AddonState {
  explicit AddonState(Napi::Env env) : engine(env) {}

  Engine engine;
  Napi::FunctionReference images, learner, session, classifier, torchScript, group;  // constructors
};

inline AddonState& state(Napi::Env env) { return *env.GetInstanceData<AddonState>(); }

// Each defines its class or functions on the addon's exports.
void defineImages(Napi::Env env, Napi::Object exports);
void defineLearner(Napi::Env env, Napi::Object exports);
void defineSession(Napi::Env env, Napi::Object exports);
void defineClassifier(Napi::Env env, Napi::Object exports);
void defineDiffusion(Napi::Env env, Napi::Object exports);
void defineEvaluation(Napi::Env env, Napi::Object exports);
void defineTorchScript(Napi::Env env, Napi::Object exports);
void defineGroup(Napi::Env env, Napi::Object exports);
void defineSystem(Napi::Env env, Napi::Object exports);

}  // namespace continual
