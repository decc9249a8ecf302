#pragma once
// The slow headers, parsed once. binding/ adds <napi.h> itself: nothing else here may know of Node.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
