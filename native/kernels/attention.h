#pragma once

// Attention of heads of eight channels, for which libtorch's operators put heads apart, multiply, exponentiate and put
// heads together again in passes of their own. Queries lie in lanes, two heads at a time, so that nothing is summed
// across lanes; the scores are computed again for the gradient, not kept.

#include "kernels/transpose.h"

namespace continual {
namespace {

constexpr int64_t heads = lanes / headDim;  // of a pair

inline int64_t blocks(const AttentionShape& shape) { return (shape.tokens + lanes - 1) / lanes; }

/// Which sixteen queries, of all those of a pair of heads, a token's are in the head that begins at channel `h`.
inline int64_t blockOf(int64_t token, int64_t h) { return token / lanes * heads + h / headDim; }

int64_t attentionScratch(const AttentionShape& shape) {
  return 4 * shape.tokens * lanes + blocks(shape) * heads * lanes;
}

/// Sixteen tokens of a pair of heads, a vector for each channel; tokens past the last are zeros.
template <class T>
inline void transposedTokens(const AttentionShape& shape, int64_t first, const T* from, Floats (&to)[16]) {
  for (int64_t token = 0; token < lanes; ++token) {
    to[token] = first + token < shape.tokens ? load(from + (first + token) * shape.channels) : splat(0);
  }
  transpose(to);
}

template <class T>
inline void storeTransposed(const AttentionShape& shape, int64_t first, Floats (&values)[16], T* to) {
  transpose(values);
  for (int64_t token = 0; token < lanes && first + token < shape.tokens; ++token) {
    store(to + (first + token) * shape.channels, values[token]);
  }
}

/// All tokens of a pair of heads, one after the other, in float32.
template <class T>
inline void gathered(const AttentionShape& shape, const T* from, float factor, float* to) {
  for (int64_t token = 0; token < shape.tokens; ++token) {
    store(to + token * lanes, load(from + token * shape.channels) * factor);
  }
}

inline Floats product(const float* one, const Floats* each) {
  Floats sum = splat(0);
#pragma GCC unroll 8
  for (int64_t d = 0; d < headDim; ++d) sum += each[d] * one[d];
  return sum;
}

inline void addProduct(Floats factor, const float* one, Floats* sums) {
#pragma GCC unroll 8
  for (int64_t d = 0; d < headDim; ++d) sums[d] += factor * one[d];
}

/// eˣ for x ≤ 0; a NaN stays one, so that weights that aren't finite show.
inline Floats weightOf(Floats x) { return exponential(x) + (x - x); }

/// `statistics` has, for each sixteen queries of each head, their largest scores and the inverse of their sums.
template <class T>
void attention(const AttentionShape& shape, int64_t images, const T* q, const T* k, const T* v, float* statistics, T* y,
               float* scratch) {
  const int64_t tokens = shape.tokens, step = tokens * shape.channels;
  float *const keys = scratch, *const values = keys + tokens * lanes, *const weights = values + tokens * lanes;
  for (int64_t n = 0; n < images; ++n, q += step, k += step, v += step, y += step) {
    for (int64_t c = 0; c < shape.channels; c += lanes) {
      gathered(shape, k + c, 1, keys);
      gathered(shape, v + c, 1, values);
      for (int64_t first = 0; first < tokens; first += lanes) {
        Floats queries[16], outputs[16];
        transposedTokens(shape, first, q + c, queries);
        for (int64_t h = 0; h < lanes; h += headDim, statistics += 2 * lanes) {
          for (int64_t d = 0; d < headDim; ++d) queries[h + d] *= shape.scale;
          Floats most = splat(-__builtin_inff()), sum = splat(0);
          for (int64_t j = 0; j < tokens; ++j) {
            const Floats score = product(keys + j * lanes + h, queries + h);
            most = maximum(most, score);
            store(weights + j * lanes, score);
          }
          Floats* const output = outputs + h;
          for (int64_t d = 0; d < headDim; ++d) output[d] = splat(0);
          for (int64_t j = 0; j < tokens; ++j) {
            const Floats weight = weightOf(load(weights + j * lanes) - most);
            sum += weight;
            addProduct(weight, values + j * lanes + h, output);
          }
          const Floats inverse = 1.0F / sum;
          for (int64_t d = 0; d < headDim; ++d) output[d] *= inverse;
          store(statistics, most);
          store(statistics + lanes, inverse);
        }
        storeTransposed(shape, first, outputs, y + c);
      }
    }
  }
}

// With p the weights, dp = dy·v and D = ⟨dy, y⟩ for each query: ds = p·(dp − D), dq = ds·k, dk = ds·q and dv = p·dy.
// Those of queries have queries in lanes, those of keys and values have keys.
template <class T>
void attentionGradient(const AttentionShape& shape, int64_t images, const T* q, const T* k, const T* v, const T* y,
                       const float* statistics, const T* dy, T* dq, T* dk, T* dv, float* scratch) {
  const int64_t tokens = shape.tokens, step = tokens * shape.channels, row = tokens * lanes;
  float *const queries = scratch, *const keys = queries + row, *const values = keys + row, *const given = values + row;
  float* const along = given + row;  // D, for each sixteen queries of each head
  for (int64_t n = 0; n < images;
       ++n, q += step, k += step, v += step, y += step, dy += step, dq += step, dk += step, dv += step) {
    for (int64_t c = 0; c < shape.channels; c += lanes) {
      gathered(shape, q + c, shape.scale, queries);
      gathered(shape, k + c, 1, keys);
      gathered(shape, v + c, 1, values);
      gathered(shape, dy + c, 1, given);
      for (int64_t first = 0; first < tokens; first += lanes) {
        Floats query[16], output[16], gradient[16], result[16];
        transposedTokens(shape, first, q + c, query);
        transposedTokens(shape, first, y + c, output);
        transposedTokens(shape, first, dy + c, gradient);
        for (int64_t h = 0; h < lanes; h += headDim) {
          const float* const kept = statistics + blockOf(first, h) * 2 * lanes;
          const Floats most = load(kept), inverse = load(kept + lanes);
          Floats sum = splat(0);
          for (int64_t d = h; d < h + headDim; ++d) {
            query[d] *= shape.scale;
            sum += gradient[d] * output[d];
            result[d] = splat(0);
          }
          store(along + blockOf(first, h) * lanes, sum);
          for (int64_t j = 0; j < tokens; ++j) {
            const float *const key = keys + j * lanes + h, *const value = values + j * lanes + h;
            const Floats weight = weightOf(product(key, query + h) - most) * inverse;
            addProduct(weight * (product(value, gradient + h) - sum), key, result + h);
          }
          for (int64_t d = h; d < h + headDim; ++d) result[d] *= shape.scale;
        }
        storeTransposed(shape, first, result, dq + c);
      }
      for (int64_t first = 0; first < tokens; first += lanes) {
        Floats key[16], value[16], ofKey[16], ofValue[16];
        transposedTokens(shape, first, k + c, key);
        transposedTokens(shape, first, v + c, value);
        for (int64_t h = 0; h < lanes; h += headDim) {
          for (int64_t d = h; d < h + headDim; ++d) ofKey[d] = ofValue[d] = splat(0);
          for (int64_t i = 0; i < tokens; ++i) {
            const int64_t block = blockOf(i, h), lane = i % lanes;
            const float* const kept = statistics + block * 2 * lanes + lane;
            const float *const query = queries + i * lanes + h, *const gradient = given + i * lanes + h;
            const Floats weight = weightOf(product(query, key + h) - kept[0]) * kept[lanes];
            addProduct(weight, gradient, ofValue + h);
            addProduct(weight * (product(gradient, value + h) - along[block * lanes + lane]), query, ofKey + h);
          }
        }
        storeTransposed(shape, first, ofKey, dk + c);
        storeTransposed(shape, first, ofValue, dv + c);
      }
      statistics += blocks(shape) * heads * 2 * lanes;
    }
  }
}

}  // namespace
}  // namespace continual
