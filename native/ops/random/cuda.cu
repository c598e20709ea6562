// The CPU's numbers, to the bit: a thread makes one Philox block and from it 4 numbers (or 2 of
// float64 and integers). The floor is the bytes written; Philox takes about 80 instructions a
// block, which memory hides, Box and Muller's normals twice that, which it does not quite. Compiled
// without contraction of multiply and add, as core/philox.h asks.
#include "cuda/elements.h"
#include "cuda/launch.h"
#include "ops/random/op.h"
#include "ops/random/plan.h"
#include "ops/random/values.h"

namespace surprisal::random {
namespace {

using namespace cuda;

struct Uniform {
  __device__ void make(const PhiloxBlock& x, double (&out)[2]) const {
    out[0] = surprisal::uniform(x.word[0], x.word[1]);
    out[1] = surprisal::uniform(x.word[2], x.word[3]);
  }
  template <class T>
  __device__ void make(const PhiloxBlock& x, T (&out)[4]) const {
    for (int j = 0; j < 4; ++j) out[j] = from_float<T>(uniform_bits(x.word[j], kBits<T>));
  }
};

struct Normal {
  __device__ void make(const PhiloxBlock& x, double (&out)[2]) const {
    normal_pair(x, out[0], out[1]);
  }
  template <class T>
  __device__ void make(const PhiloxBlock& x, T (&out)[4]) const {
    float y[4];
    normal_pair(x.word[0], x.word[1], y[0], y[1]);
    normal_pair(x.word[2], x.word[3], y[2], y[3]);
    for (int j = 0; j < 4; ++j) out[j] = from_float<T>(y[j]);
  }
};

struct Integer {
  uint64_t first, range;
  template <class T>
  __device__ void make(const PhiloxBlock& x, T (&out)[2]) const {
    for (int j = 0; j < 2; ++j)
      out[j] = static_cast<T>(integer_of(x.word[2 * j], x.word[2 * j + 1], first, range));
  }
};

template <class Kind, class T>
struct Stretch {
  T* out;
  int64_t n;
  uint64_t seed, offset;
  Kind kind;
  bool aligned;
};

template <class Kind, class T>
__global__ void __launch_bounds__(kThreads) random_draw_kernel(Stretch<Kind, T> s) {
  constexpr int kN = kEach<T>;
  const int64_t block = block_index() * block_size() + thread_index(), first = block * kN;
  if (first >= s.n) return;
  Pack<T, kN> values;
  s.kind.make(philox(s.seed, s.offset + static_cast<uint64_t>(block)), values.at);
  if (s.aligned && first + kN <= s.n) {
    store(reinterpret_cast<Pack<T, kN>*>(s.out + first), values);
    return;
  }
#pragma unroll
  for (int j = 0; j < kN; ++j)
    if (first + j < s.n) store(s.out + first + j, values.at[j]);
}

template <class T, class Kind>
void draw(const View& out, int64_t seed, int64_t offset, const Kind& kind, Stream& stream) {
  launch(stream, random_draw_kernel<Kind, T>, {blocks_of(out.size, kEach<T>), kThreads},
         Stretch<Kind, T>{static_cast<T*>(out.data), out.size, static_cast<uint64_t>(seed),
                          static_cast<uint64_t>(offset), kind, is_aligned(out.data)});
}

}  // namespace

void uniform_cuda(const Draw& op, Stream& stream) {
  visit_float(op.out.dtype, [&](auto tag) {
    draw<typename decltype(tag)::type>(op.out, op.seed, op.offset, Uniform{}, stream);
  });
}

void normal_cuda(const Draw& op, Stream& stream) {
  visit_float(op.out.dtype, [&](auto tag) {
    draw<typename decltype(tag)::type>(op.out, op.seed, op.offset, Normal{}, stream);
  });
}

void integers_cuda(const Integers& op, Stream& stream) {
  require(op.low < op.high, "randint: low is not below high");
  const auto first = static_cast<uint64_t>(op.low);
  const Integer kind{first, static_cast<uint64_t>(op.high) - first};
  if (op.out.dtype == DType::u8) return draw<uint8_t>(op.out, op.seed, op.offset, kind, stream);
  visit_index(op.out.dtype, [&](auto tag) {
    draw<typename decltype(tag)::type>(op.out, op.seed, op.offset, kind, stream);
  });
}

}  // namespace surprisal::random
