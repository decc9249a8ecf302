#pragma once

// Group norm with SiLU behind it, images N×H×W×C. They replace libtorch's two operators, of which the first is slow in
// this layout and several times slower in bf16: its CPU kernels walk through memory group by group.

#include "kernels/vector.h"

namespace continual {
namespace {

constexpr int64_t mostChannels = 4096, run = 64;

/// Sums over the channels of a group, put in the place of each of them.
inline void overGroups(const GroupNormShape& shape, float* values) {
  const int64_t size = shape.channels / shape.groups;
  for (int64_t g = 0; g < shape.groups; ++g) {
    float sum = 0;
    for (int64_t c = 0; c < size; ++c) sum += values[g * size + c];
    for (int64_t c = 0; c < size; ++c) values[g * size + c] = sum;
  }
}

/// Calls `work.operator()<V>(c)` for all channels, V vectors of them from c on: enough to fill whole lines of the cache
/// at each pixel.
template <class Work>
inline void overChannels(int64_t channels, const Work& work) {
  int64_t c = 0;
  for (; c + 4 * lanes <= channels; c += 4 * lanes) work.template operator()<4>(c);
  for (; c + 2 * lanes <= channels; c += 2 * lanes) work.template operator()<2>(c);
  if (c < channels) work.template operator()<1>(c);
}

/// Calls `work.operator()<silu>()`, so that no pixel's loop asks for it.
template <class Work>
inline void withSilu(bool silu, const Work& work) {
  if (silu) {
    work.template operator()<true>();
  } else {
    work.template operator()<false>();
  }
}

template <class T>
void groupNorm(const GroupNormShape& shape, int64_t images, const T* x, const T* weight, const T* bias,
               float* statistics, T* y) {
  const int64_t channels = shape.channels, size = channels / shape.groups, pixels = shape.pixels;
  const float count = static_cast<float>(pixels * size), each = static_cast<float>(pixels);
  float mean[mostChannels], spread[mostChannels], own[mostChannels];
  for (int64_t n = 0; n < images; ++n, x += pixels * channels, y += pixels * channels) {
    // Of each channel, and then of each group. In runs of few pixels, as distances from a run's first number: were they
    // from one that is unlike the others, as corners are, long sums of squares would lose the digits that count.
    overChannels(channels, [&]<int V>(int64_t c) {
      Floats middle[V], around[V];  // of the pixels before a run: their mean, and the squared distances from it
      for (int v = 0; v < V; ++v) middle[v] = around[v] = splat(0);
      for (int64_t before = 0; before < pixels; before += run) {
        const int64_t here = pixels - before < run ? pixels - before : run;
        const T* const from = x + before * channels + c;
        Floats base[V], sum[V], squares[V];
        for (int v = 0; v < V; ++v) {
          base[v] = load(from + v * lanes);
          sum[v] = squares[v] = splat(0);
        }
        for (const T *at = from, *end = from + here * channels; at != end; at += channels) {
          for (int v = 0; v < V; ++v) {
            const Floats d = load(at + v * lanes) - base[v];
            sum[v] += d;
            squares[v] += d * d;
          }
        }
        const float size = static_cast<float>(here), share = size / static_cast<float>(before + here);
        for (int v = 0; v < V; ++v) {
          const Floats d = base[v] + sum[v] / size - middle[v];
          middle[v] += d * share;
          around[v] += squares[v] - sum[v] * sum[v] / size + d * d * (share * static_cast<float>(before));
        }
      }
      for (int v = 0; v < V; ++v) {
        store(own + c + v * lanes, middle[v]);
        store(spread + c + v * lanes, around[v]);
      }
    });
    for (int64_t c = 0; c < channels; ++c) mean[c] = own[c] / static_cast<float>(size);
    overGroups(shape, mean);
    for (int64_t c = 0; c < channels; ++c) spread[c] += each * (own[c] - mean[c]) * (own[c] - mean[c]);
    overGroups(shape, spread);
    float *const scale = spread, *const shift = own;
    for (int64_t c = 0; c < channels; ++c) {
      const float rstd = 1.0F / __builtin_sqrtf(spread[c] / count + shape.eps);
      if (c % size == 0) {
        statistics[(n * shape.groups + c / size) * 2] = mean[c];
        statistics[(n * shape.groups + c / size) * 2 + 1] = rstd;
      }
      scale[c] = rstd * number(weight[c]);
      shift[c] = number(bias[c]) - mean[c] * scale[c];
    }
    withSilu(shape.silu, [&]<bool silu>() {
      overChannels(channels, [&]<int V>(int64_t c) {
        Floats a[V], b[V];
        for (int v = 0; v < V; ++v) {
          a[v] = load(scale + c + v * lanes);
          b[v] = load(shift + c + v * lanes);
        }
        for (int64_t p = c; p < pixels * channels; p += channels) {
          for (int v = 0; v < V; ++v) {
            const Floats z = load(x + p + v * lanes) * a[v] + b[v];
            store(y + p + v * lanes, silu ? z * sigmoid<T>(z) : z);
          }
        }
      });
    });
  }
}

// With z = x̂·weight + bias and dz the gradient of z: dx = rstd·(dz·weight − ⟨dz·weight⟩ − x̂·⟨dz·weight·x̂⟩), where ⟨⟩
// is the mean over a group. z is computed again, not kept.
template <class T>
void groupNormGradient(const GroupNormShape& shape, int64_t images, const T* x, const T* weight, const T* bias,
                       const float* statistics, const T* dy, T* dx, float* dweight, float* dbias) {
  const int64_t channels = shape.channels, size = channels / shape.groups, step = shape.pixels * channels;
  const float count = static_cast<float>(shape.pixels * size);
  float factor[mostChannels], shift[mostChannels], mean[mostChannels], rstd[mostChannels];
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
    withSilu(shape.silu, [&]<bool silu>() {
      overChannels(channels, [&]<int V>(int64_t c) {
        Floats w[V], b[V], m[V], r[V], sum[V], along[V];
        for (int v = 0; v < V; ++v) {
          const int64_t at = c + v * lanes;
          w[v] = load(factor + at);
          b[v] = load(shift + at);
          m[v] = load(mean + at);
          r[v] = load(rstd + at);
          sum[v] = along[v] = splat(0);
        }
        for (int64_t p = c; p < step; p += channels) {
          for (int v = 0; v < V; ++v) {
            const Floats normed = (load(x + p + v * lanes) - m[v]) * r[v];
            Floats dz = load(dy + p + v * lanes);
            if constexpr (silu) {
              const Floats z = normed * w[v] + b[v], s = sigmoid<T>(z);
              dz *= s * (1.0F + z * (1.0F - s));
              // Kept for the second pass, which would otherwise take the exponential again.
              store(dx + p + v * lanes, dz);
            }
            sum[v] += dz;
            along[v] += dz * normed;
          }
        }
        for (int v = 0; v < V; ++v) {
          const int64_t at = c + v * lanes;
          store(dbias + at, load(dbias + at) + sum[v]);
          store(dweight + at, load(dweight + at) + along[v]);
          store(first + at, sum[v] * w[v]);
          store(second + at, along[v] * w[v]);
        }
      });
    });
    overGroups(shape, first);
    overGroups(shape, second);
    const T* dz = shape.silu ? dx : dy;
    overChannels(channels, [&]<int V>(int64_t c) {
      Floats w[V], m[V], r[V], a[V], b[V];
      for (int v = 0; v < V; ++v) {
        const int64_t at = c + v * lanes;
        m[v] = load(mean + at);
        r[v] = load(rstd + at);
        w[v] = load(factor + at) * r[v];
        a[v] = load(first + at) / count * r[v];
        b[v] = load(second + at) / count * r[v];
      }
      for (int64_t p = c; p < step; p += channels) {
        for (int v = 0; v < V; ++v) {
          const Floats normed = (load(x + p + v * lanes) - m[v]) * r[v];
          store(dx + p + v * lanes, load(dz + p + v * lanes) * w[v] - a[v] - normed * b[v]);
        }
      }
    });
  }
}

}  // namespace
}  // namespace continual
