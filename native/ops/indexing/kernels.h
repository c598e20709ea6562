// Compiled once per instruction set by cpu.cpp: the parts that compute.
namespace indexing {

using ::surprisal::indexing::MaskedFill;
using ::surprisal::indexing::SelectAdd;

constexpr int64_t kGrain = 1 << 14;
constexpr int64_t kColumns = 512;  // accumulators of one step: they stay in the first-level cache

template <class T>
inline void add_row(accumulator_t<T>* sum, const T* row, int64_t n) {
  constexpr int kStep = kLanes<accumulator_t<T>>;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) store(sum + i, load(sum + i) + load_wide(row + i));
  if (i < n) {
    const auto rest = load_wide_part(row + i, n - i, accumulator_t<T>(0));
    for (int64_t j = i; j < n; ++j) sum[j] += rest[j - i];
  }
}

template <class T>
inline void write_row(T* out, const accumulator_t<T>* sum, int64_t n) {
  constexpr int kStep = kLanes<accumulator_t<T>>;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) store_narrow(out + i, load(sum + i));
  if (i < n) store_narrow_part(out + i, load_wide_part(sum + i, n - i, accumulator_t<T>(0)), n - i);
}

// `order` lists the positions j by destination: those of s are order[start[s]..start[s + 1]).
template <class T>
void select_add_as(const SelectAdd& op, const int64_t* start, const int64_t* order) {
  const int64_t n = op.index.size, inner = op.inner;
  const T* grad_out = op.grad_out.as<T>();
  T* grad = op.grad.as<T>();
  parallel_for(op.outer * op.size, kGrain / inner, [&](int64_t begin, int64_t end) {
    accumulator_t<T> sum[kColumns];
    for (int64_t row = begin; row < end; ++row) {
      const int64_t s = row % op.size, o = row / op.size;
      if (start[s] == start[s + 1]) {
        std::memset(grad + row * inner, 0, inner * sizeof(T));
        continue;
      }
      for (int64_t c = 0; c < inner; c += kColumns) {
        const int64_t width = std::min(kColumns, inner - c);
        std::fill(sum, sum + width, accumulator_t<T>(0));
        for (int64_t k = start[s]; k < start[s + 1]; ++k)
          add_row(sum, grad_out + (o * n + order[k]) * inner + c, width);
        write_row(grad + row * inner + c, sum, width);
      }
    }
  });
}

inline void select_add(const SelectAdd& op, const int64_t* start, const int64_t* order) {
  visit_float(op.grad.dtype,
              [&](auto tag) { select_add_as<typename decltype(tag)::type>(op, start, order); });
}

typedef int8_t MaskBytes __attribute__((vector_size(kLanes<float>)));

template <class T>
inline void fill_row(const T* a, const int8_t* mask, int64_t step, T* out, int64_t n, T value) {
  int64_t i = 0;
  if (step == 1 && sizeof(T) == 4) {
    for (; i + kLanes<float> <= n; i += kLanes<float>) {
      MaskBytes bytes;
      I32 from, fill = splat(int32_t(value));
      std::memcpy(&bytes, mask + i, sizeof bytes);
      std::memcpy(&from, a + i, sizeof from);
      from = __builtin_convertvector(bytes, I32) != 0 ? fill : from;
      std::memcpy(out + i, &from, sizeof from);
    }
  }
  for (; i < n; ++i) out[i] = mask[i * step] ? value : a[i];
}

inline void masked_fill(const MaskedFill& op, const Axes<1>& axes, uint64_t bits) {
  visit_width(op.a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* a = static_cast<const T*>(op.a.data);
    T* out = static_cast<T*>(op.out.data);
    const int8_t* mask = op.mask.as<int8_t>();
    const Axis<1> row = axes.axis[axes.rank - 1];
    const int outer = axes.rank - 1;
    if (outer == 0) {
      parallel_for(row.n, kGrain, [&](int64_t begin, int64_t end) {
        fill_row(a + begin, mask + begin * row.stride[0], row.stride[0], out + begin, end - begin,
                 T(bits));
      });
      return;
    }
    parallel_for(axes.count(outer), kGrain / row.n, [&](int64_t begin, int64_t end) {
      int64_t at = begin * row.n;
      axes.walk(outer, begin, end, [&](const int64_t(&offset)[1]) {
        fill_row(a + at, mask + offset[0], row.stride[0], out + at, row.n, T(bits));
        at += row.n;
      });
    });
  });
}

}  // namespace indexing
