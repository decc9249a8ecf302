// Attention of heads of eight channels, N × tokens × C: libtorch's operators put heads apart, multiply matrices that
// are too small for it, and put heads together again. A block takes some heads of one image, a thread one token of one
// head after the other. All of a head's keys and values lie in shared memory, in float32.

constexpr int headDim = 8;

struct Heads {
  int tokens, channels, each;  // each: how many of an image's heads a block takes
  float scale;                 // of the products of queries and keys
};

/// What a thread reads and writes of a block's heads; t counts the tokens of all of them, head by head.
struct HeadsShare {
  Heads of;
  int image, first, threads;  // first: the block's first head

  __device__ explicit HeadsShare(const Heads& heads) : of(heads) {
    const int blocks = heads.channels / headDim / heads.each;
    image = static_cast<int>(blockIdx.x) / blocks;
    first = (static_cast<int>(blockIdx.x) - image * blocks) * heads.each;
    threads = static_cast<int>(blockDim.x);
  }

  /// Calls work(t) for the block's tokens, so that neighbours read neighbours: head by head within a token.
  template <class Work>
  __device__ void read(const Work& work) const {
    for (int i = static_cast<int>(threadIdx.x); i < of.each * of.tokens; i += threads) {
      work(i % of.each * of.tokens + i / of.each);
    }
  }
  template <class Work>
  __device__ void each(const Work& work) const {
    for (int t = static_cast<int>(threadIdx.x); t < of.each * of.tokens; t += threads) work(t);
  }

  __device__ size_t place(int t) const {
    return (static_cast<size_t>(image) * of.tokens + t % of.tokens) * of.channels + (first + t / of.tokens) * headDim;
  }
  /// Where a token's statistics lie: images × heads × tokens × (largest score, 1 / sum).
  __device__ size_t statistics(int t) const {
    return 2 * ((static_cast<size_t>(image) * (of.channels / headDim) + first) * of.tokens + t);
  }
};

template <class T>
__device__ inline void getHead(const T* from, float (&to)[headDim]) {
  const auto* const vectors = reinterpret_cast<const Vector<T>*>(from);
  const Vector<T> low = vectors[0], high = vectors[1];
#pragma unroll
  for (int k = 0; k < width; ++k) {
    to[k] = number(low, k);
    to[width + k] = number(high, k);
  }
}

template <class T>
__device__ inline void putHead(T* to, const float (&x)[headDim]) {
  auto* const vectors = reinterpret_cast<Vector<T>*>(to);
  put(vectors, {x[0], x[1], x[2], x[3]});
  put(vectors + 1, {x[4], x[5], x[6], x[7]});
}

__device__ inline float dot(const float (&a)[headDim], const float (&b)[headDim]) {
  float sum = 0;
#pragma unroll
  for (int d = 0; d < headDim; ++d) sum += a[d] * b[d];
  return sum;
}

__device__ inline void add(float factor, const float (&x)[headDim], float (&to)[headDim]) {
#pragma unroll
  for (int d = 0; d < headDim; ++d) to[d] += factor * x[d];
}

/// softmax(scale · q·kᵀ)·v. Shared memory: 16 numbers for each token of each head.
template <class T>
__global__ void attention(Heads heads, const T* q, const T* k, const T* v, float* statistics, T* y) {
  extern __shared__ __align__(16) float memory[];
  const HeadsShare share(heads);
  float *const keys = memory, *const values = memory + heads.each * heads.tokens * headDim;
  share.read([&](int t) {
    float head[headDim];
    getHead(k + share.place(t), head);
    putHead(keys + t * headDim, head);
    getHead(v + share.place(t), head);
    putHead(values + t * headDim, head);
  });
  __syncthreads();
  share.each([&](int t) {
    float query[headDim], key[headDim], value[headDim], out[headDim] = {};
    getHead(q + share.place(t), query);
#pragma unroll
    for (int d = 0; d < headDim; ++d) query[d] *= heads.scale;
    const int begin = t - t % heads.tokens;
    float most = __uint_as_float(0xFF800000), sum = 0;  // −∞
    for (int j = begin; j < begin + heads.tokens; ++j) {
      getHead(keys + j * headDim, key);
      most = fmaxf(most, dot(query, key));
    }
    for (int j = begin; j < begin + heads.tokens; ++j) {
      getHead(keys + j * headDim, key);
      getHead(values + j * headDim, value);
      const float weight = __expf(dot(query, key) - most);
      sum += weight;
      add(weight, value, out);
    }
    const float inverse = 1 / sum;
#pragma unroll
    for (int d = 0; d < headDim; ++d) out[d] *= inverse;
    putHead(y + share.place(t), out);
    float* const to = statistics + share.statistics(t);
    to[0] = most;
    to[1] = inverse;
  });
}

/// The gradients of q, k and v. Shared memory: 35 numbers for each token of each head.
template <class T>
__global__ void attentionGradient(Heads heads, const T* q, const T* k, const T* v, const T* y, const float* statistics,
                                  const T* dy, T* dq, T* dk, T* dv) {
  extern __shared__ __align__(16) float memory[];
  const HeadsShare share(heads);
  const int all = heads.each * heads.tokens;
  float *const queries = memory, *const keys = queries + all * headDim, *const values = keys + all * headDim;
  float *const given = values + all * headDim, *const largest = given + all * headDim;
  float *const inverses = largest + all, *const shared = inverses + all;
  share.read([&](int t) {
    float head[headDim], output[headDim];
    const size_t place = share.place(t);
    getHead(k + place, head);
    putHead(keys + t * headDim, head);
    getHead(v + place, head);
    putHead(values + t * headDim, head);
    getHead(q + place, head);
#pragma unroll
    for (int d = 0; d < headDim; ++d) head[d] *= heads.scale;
    putHead(queries + t * headDim, head);
    getHead(dy + place, head);
    putHead(given + t * headDim, head);
    getHead(y + place, output);
    shared[t] = dot(head, output);  // what a softmax's gradients have in common
    const float* const of = statistics + share.statistics(t);
    largest[t] = of[0];
    inverses[t] = of[1];
  });
  __syncthreads();
  const auto weightOf = [&](int i, float score) { return __expf(score - largest[i]) * inverses[i]; };
  share.each([&](int t) {
    const int begin = t - t % heads.tokens;
    float query[headDim], key[headDim], value[headDim], wanted[headDim];
    float ofQuery[headDim] = {}, ofKey[headDim] = {}, ofValue[headDim] = {};
    getHead(queries + t * headDim, query);
    getHead(given + t * headDim, wanted);
    for (int j = begin; j < begin + heads.tokens; ++j) {  // the keys of this query
      getHead(keys + j * headDim, key);
      getHead(values + j * headDim, value);
      add(weightOf(t, dot(query, key)) * (dot(wanted, value) - shared[t]), key, ofQuery);
    }
#pragma unroll
    for (int d = 0; d < headDim; ++d) ofQuery[d] *= heads.scale;
    putHead(dq + share.place(t), ofQuery);
    getHead(keys + t * headDim, key);
    getHead(values + t * headDim, value);
    for (int i = begin; i < begin + heads.tokens; ++i) {  // the queries of this key
      getHead(queries + i * headDim, query);
      getHead(given + i * headDim, wanted);
      const float weight = weightOf(i, dot(query, key));
      add(weight, wanted, ofValue);
      add(weight * (dot(wanted, value) - shared[i]), query, ofKey);
    }
    putHead(dk + share.place(t), ofKey);
    putHead(dv + share.place(t), ofValue);
  });
}
