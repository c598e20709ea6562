// Compiled once per instruction set by cpu.cpp. Blocks are made in groups of fixed length; the
// last group is drawn whole and copied in part.
namespace random {

using ::surprisal::random::Draw;
using ::surprisal::random::integer_of;
using ::surprisal::random::Integers;
using ::surprisal::random::uniform_bits;

constexpr int kGroup = 64;  // Philox blocks made together

struct Words {
  uint32_t word[4][kGroup];
};

inline void fill_words(uint64_t seed, uint64_t block, Words& words) {
  for (int i = 0; i < kGroup; ++i) {
    const PhiloxBlock x = philox(seed, block + uint64_t(i));
    for (int j = 0; j < 4; ++j) words.word[j][i] = x.word[j];
  }
}

// Calls make(words, values) for groups of kGroup blocks that give kEach values each.
template <class T, int kEach, class Make>
inline void draw(const View& out, int64_t seed, int64_t offset, Make&& make) {
  constexpr int64_t kValues = int64_t{kGroup} * kEach;
  T* p = out.as<T>();
  parallel_for((out.size + kValues - 1) / kValues, 16, [&](int64_t begin, int64_t end) {
    Words words;
    T values[kValues];
    for (int64_t g = begin; g < end; ++g) {
      fill_words(uint64_t(seed), uint64_t(offset) + uint64_t(g) * kGroup, words);
      make(words, values);
      const int64_t n = std::min(kValues, out.size - g * kValues);
      std::memcpy(p + g * kValues, values, size_t(n) * sizeof(T));
    }
  });
}

inline void uniform(const Draw& op) {
  visit_float(op.out.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_same_v<T, double>) {
      draw<double, 2>(op.out, op.seed, op.offset, [](const Words& w, double* out) {
        for (int i = 0; i < kGroup; ++i) {
          out[2 * i] = surprisal::uniform(w.word[0][i], w.word[1][i]);
          out[2 * i + 1] = surprisal::uniform(w.word[2][i], w.word[3][i]);
        }
      });
    } else {
      draw<T, 4>(op.out, op.seed, op.offset, [](const Words& w, T* out) {
        for (int i = 0; i < kGroup; ++i)
          for (int j = 0; j < 4; ++j)
            out[4 * i + j] =
                from_float<T>(uniform_bits(w.word[j][i], ::surprisal::random::kBits<T>));
      });
    }
  });
}

inline void normal(const Draw& op) {
  visit_float(op.out.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_same_v<T, double>) {
      draw<double, 2>(op.out, op.seed, op.offset, [](const Words& w, double* out) {
        for (int i = 0; i < kGroup; ++i) {
          const PhiloxBlock x = {{w.word[0][i], w.word[1][i], w.word[2][i], w.word[3][i]}};
          normal_pair(x, out[2 * i], out[2 * i + 1]);
        }
      });
    } else {
      draw<T, 4>(op.out, op.seed, op.offset, [](const Words& w, T* out) {
        float a[4][kGroup];
        for (int i = 0; i < kGroup; ++i) normal_pair(w.word[0][i], w.word[1][i], a[0][i], a[1][i]);
        for (int i = 0; i < kGroup; ++i) normal_pair(w.word[2][i], w.word[3][i], a[2][i], a[3][i]);
        for (int i = 0; i < kGroup; ++i)
          for (int j = 0; j < 4; ++j) out[4 * i + j] = from_float<T>(a[j][i]);
      });
    }
  });
}

template <class T>
inline void integers_as(const Integers& op) {
  const uint64_t range = uint64_t(op.high) - uint64_t(op.low);
  draw<T, 2>(op.out, op.seed, op.offset, [&](const Words& w, T* out) {
    for (int i = 0; i < kGroup; ++i) {
      for (int j = 0; j < 2; ++j) {
        out[2 * i + j] = static_cast<T>(
            integer_of(w.word[2 * j][i], w.word[2 * j + 1][i], uint64_t(op.low), range));
      }
    }
  });
}

inline void integers(const Integers& op) {
  if (op.out.dtype == DType::u8) return integers_as<uint8_t>(op);
  visit_index(op.out.dtype, [&](auto tag) { integers_as<typename decltype(tag)::type>(op); });
}

}  // namespace random
