// Compiled once per instruction set by cpu.cpp.
namespace roofline {

using ::surprisal::roofline::Copy;
using ::surprisal::roofline::Fma;
using ::surprisal::roofline::Read;

constexpr int64_t kBlock = 1 << 16;  // floats: 256 KiB, long enough for the prefetchers

template <size_t... I>
inline float sum_block(const float* p, int64_t n, std::index_sequence<I...>) {
  constexpr int64_t kStep = sizeof...(I) * kLanes<float>;
  F32 acc[] = {(static_cast<void>(I), F32{})...};
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) ((acc[I] += load(p + i + I * kLanes<float>)), ...);
  float total = reduce_add((acc[I] + ...));
  for (; i < n; ++i) total += p[i];
  return total;
}

inline void read(const Read& op) {
  const float* source = op.source.as<float>();
  const int64_t blocks = (op.source.size + kBlock - 1) / kBlock;
  Scratch<float> partial(blocks);
  parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t n = std::min(kBlock, op.source.size - b * kBlock);
      partial[b] = sum_block(source + b * kBlock, n, std::make_index_sequence<8>{});
    }
  });
  double total = 0;
  for (int64_t b = 0; b < blocks; ++b) total += partial[b];
  *op.sum.as<double>() = total;
}

inline void copy_block(float* to, const float* from, int64_t n) {
  int64_t i = 0;
  // Streaming stores need aligned addresses; an ArrayBuffer's are often 16 bytes off a page.
  for (; i < n && reinterpret_cast<uintptr_t>(to + i) % 64; ++i) to[i] = from[i];
  for (; i + 2 * kLanes<float> <= n; i += 2 * kLanes<float>) {
    stream_narrow(to + i, load(from + i));
    stream_narrow(to + i + kLanes<float>, load(from + i + kLanes<float>));
  }
  for (; i < n; ++i) to[i] = from[i];
  stream_fence();  // another thread may read them next
}

inline void copy(const Copy& op) {
  const float* source = op.source.as<float>();
  float* destination = op.destination.as<float>();
  const int64_t blocks = (op.source.size + kBlock - 1) / kBlock;
  parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t n = std::min(kBlock, op.source.size - b * kBlock);
      copy_block(destination + b * kBlock, source + b * kBlock, n);
    }
  });
}

// 12 independent chains hide the latency of two multiply-adds a cycle and fit in 16 registers.
constexpr int64_t kChains = 12;

template <size_t... I>
inline float chains(int64_t rounds, std::index_sequence<I...>) {
  F32 acc[] = {splat(static_cast<float>(I))...};
  const F32 scale = splat(0.999f), shift = splat(0.5f);
  for (int64_t r = 0; r < rounds; ++r) ((acc[I] = fma(acc[I], scale, shift)), ...);
  return reduce_add((acc[I] + ...));
}

inline void multiply_add(const Fma& op) {
  require(op.out.size == 2, "rooflineFma: out holds 2 numbers");
  // More pieces than threads, so that one that starts late does not hold up the rest.
  const int64_t pieces = 16 * num_threads();
  Scratch<float> sums(pieces);
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      sums[i] = chains(op.rounds, std::make_index_sequence<kChains>{});
    }
  });
  double* out = op.out.as<double>();
  out[0] = 2.0 * kChains * kLanes<float> * static_cast<double>(op.rounds) * pieces;
  out[1] = 0;
  for (int64_t i = 0; i < pieces; ++i) out[1] += sums[i];
}

}  // namespace roofline
