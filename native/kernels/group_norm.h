#pragma once

// Group norm with SiLU behind it, images N×H×W×C. They replace libtorch's two operators, of which the first is slow in
// this layout and several times slower in bf16: its CPU kernels walk through memory group by group.

#include "kernels/vector.h"

namespace continual {
namespace {

constexpr int64_t mostChannels = 4096;

inline float number(float x) { return x; }
inline float number(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

/// Sums over the channels of a group, put in the place of each of them.
inline void overGroups(const GroupNormShape& shape, float* values) {
  const int64_t size = shape.channels / shape.groups;
  for (int64_t g = 0; g < shape.groups; ++g) {
    float sum = 0;
    for (int64_t c = 0; c < size; ++c) sum += values[g * size + c];
    for (int64_t c = 0; c < size; ++c) values[g * size + c] = sum;
  }
}

template <class T>
void groupNorm(const GroupNormShape& shape, int64_t images, const T* x, const T* weight, const T* bias,
               float* statistics, T* y) {
  const int64_t channels = shape.channels, size = channels / shape.groups;
  const float count = static_cast<float>(shape.pixels * size);
  float mean[mostChannels], scale[mostChannels], shift[mostChannels];
  for (int64_t n = 0; n < images; ++n, x += shape.pixels * channels, y += shape.pixels * channels) {
    const auto sums = [&](float* to, auto term) {
      for (int64_t c = 0; c < channels; c += lanes) {
        Floats sum = Floats{};
        for (int64_t p = 0; p < shape.pixels; ++p) sum += term(load(x + p * channels + c), c);
        store(to + c, sum);
      }
      overGroups(shape, to);
    };
    sums(mean, [](Floats v, int64_t) { return v; });
    for (int64_t c = 0; c < channels; ++c) mean[c] /= count;
    sums(scale, [&](Floats v, int64_t c) {
      const Floats d = v - load(mean + c);
      return d * d;
    });
    for (int64_t c = 0; c < channels; ++c) {
      const float rstd = 1.0F / __builtin_sqrtf(scale[c] / count + shape.eps);
      if (c % size == 0) {
        statistics[(n * shape.groups + c / size) * 2] = mean[c];
        statistics[(n * shape.groups + c / size) * 2 + 1] = rstd;
      }
      scale[c] = rstd * number(weight[c]);
      shift[c] = number(bias[c]) - mean[c] * scale[c];
    }
    for (int64_t c = 0; c < channels; c += lanes) {
      const Floats a = load(scale + c), b = load(shift + c);
      for (int64_t p = 0; p < shape.pixels; ++p) {
        const Floats z = load(x + p * channels + c) * a + b;
        store(y + p * channels + c, shape.silu ? z * sigmoid(z) : z);
      }
    }
  }
}

// With z = x̂·weight + bias and dz the gradient of z: dx = rstd·(dz·weight − ⟨dz·weight⟩ − x̂·⟨dz·weight·x̂⟩), where ⟨⟩
// is the mean over a group. z is computed again, not kept.
template <class T>
void groupNormGradient(const GroupNormShape& shape, int64_t images, const T* x, const T* weight, const T* bias,
                       const float* statistics, const T* dy, T* dx, float* dweight, float* dbias) {
  const int64_t channels = shape.channels, size = channels / shape.groups, step = shape.pixels * channels;
  const float count = static_cast<float>(shape.pixels * size);
  float factor[mostChannels], mean[mostChannels], rstd[mostChannels], shift[mostChannels];
  float first[mostChannels], second[mostChannels];  // ⟨dz·weight⟩ and ⟨dz·weight·x̂⟩
  for (int64_t c = 0; c < channels; ++c) {
    factor[c] = number(weight[c]);
    shift[c] = number(bias[c]);
    dweight[c] = dbias[c] = 0;
  }
  for (int64_t n = 0; n < images; ++n, x += step, dy += step, dx += step) {
    for (int64_t c = 0; c < channels; ++c) {
      mean[c] = statistics[(n * shape.groups + c / size) * 2];
      rstd[c] = statistics[(n * shape.groups + c / size) * 2 + 1];
    }
    for (int64_t c = 0; c < channels; c += lanes) {
      const Floats w = load(factor + c), b = load(shift + c), m = load(mean + c), r = load(rstd + c);
      Floats sum = Floats{}, along = Floats{};
      for (int64_t p = 0; p < shape.pixels; ++p) {
        const Floats normed = (load(x + p * channels + c) - m) * r;
        Floats dz = load(dy + p * channels + c);
        if (shape.silu) {
          const Floats z = normed * w + b, s = sigmoid(z);
          dz *= s * (1.0F + z * (1.0F - s));
          // Kept for the second pass, which would otherwise take the exponential again.
          store(dx + p * channels + c, dz);
        }
        sum += dz;
        along += dz * normed;
      }
      store(dbias + c, load(dbias + c) + sum);
      store(dweight + c, load(dweight + c) + along);
      store(first + c, sum * w);
      store(second + c, along * w);
    }
    overGroups(shape, first);
    overGroups(shape, second);
    const T* dz = shape.silu ? dx : dy;
    for (int64_t c = 0; c < channels; c += lanes) {
      const Floats w = load(factor + c), m = load(mean + c), r = load(rstd + c);
      const Floats a = load(first + c) / count, b = load(second + c) / count;
      for (int64_t p = 0; p < shape.pixels; ++p) {
        const Floats normed = (load(x + p * channels + c) - m) * r;
        store(dx + p * channels + c, r * (load(dz + p * channels + c) * w - a - normed * b));
      }
    }
  }
}

}  // namespace
}  // namespace continual
