// Standard normal numbers on CUDA: those of runtime/random.h, whose logarithms and sines are rounded otherwise.

/// Four numbers for each of `blocks` positions from `first` on.
__global__ void standardNormal(unsigned long long seed, unsigned long long stream, unsigned long long first, int blocks,
                               float* out) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= blocks) return;
  const unsigned long long position = first + static_cast<unsigned long long>(i);
  const auto low = [](unsigned long long x) { return static_cast<unsigned>(x); };
  const auto high = [](unsigned long long x) { return static_cast<unsigned>(x >> 32); };
  unsigned x[4] = {low(position), high(position), low(stream), high(stream)};
  unsigned key0 = low(seed), key1 = high(seed);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned long long a = 0xD2511F53ULL * x[0], b = 0xCD9E8D57ULL * x[2];
    x[0] = high(b) ^ x[1] ^ key0;
    x[1] = low(b);
    x[2] = high(a) ^ x[3] ^ key1;
    x[3] = low(a);
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  constexpr float unit = 1.0F / 16777216.0F, turn = 6.2831853F;
  float values[width];
#pragma unroll
  for (int pair = 0; pair < width; pair += 2) {
    const float radius = sqrtf(-2.0F * logf(static_cast<float>((x[pair] >> 8) + 1) * unit));
    const float angle = turn * (static_cast<float>(x[pair + 1] >> 8) * unit);
    values[pair] = radius * cosf(angle);
    values[pair + 1] = radius * sinf(angle);
  }
  put(reinterpret_cast<Vector<float>*>(out) + i, values);
}
