// Rows of a contiguous matrix as runs of 16-byte slots, whatever the alignment of a row; with an
// odd number of columns rows begin anywhere. Two views of a row:
//   as it lies   slots of memory, each on 16 bytes: all moves, and what is done element by element.
//                The first and the last slot hold elements of other rows too: such edges are
//                written element by element.
//   columns()    slot s is columns [s E, (s+1) E), shifted out of two neighbouring slots of memory.
//                All that is added up goes by these, so that who adds what, and in which order,
//                depends on a row's length alone: the same bits anywhere in any matrix.
// Elements are read one by one only where a slot reaches beyond the whole matrix.
#pragma once
#include <cstring>

#include "cuda/device.h"

namespace surprisal::cuda {

template <class T>
inline __device__ accumulator_t<T> widened(T x) {
  if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return to_float(x);
  }
}
template <class T>
inline __device__ T narrowed(accumulator_t<T> x) {
  if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return from_float<T>(x);
  }
}

// 16 bytes of a row. As words: the compiler would take a slot of 16-bit numbers apart into as many
// 32-bit registers as it has numbers.
using Slot = Pack<uint32_t, 4>;

template <class T>
inline __device__ void widen(const Slot& from, accumulator_t<T> (&to)[kPack<T>]) {
  if constexpr (std::is_same_v<T, BFloat16>) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      to[2 * j] = float_of(from.at[j] << 16);
      to[2 * j + 1] = float_of(from.at[j] & 0xffff0000u);
    }
  } else if constexpr (std::is_same_v<T, Float16>) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      to[2 * j] = to_float(Float16{static_cast<uint16_t>(from.at[j])});
      to[2 * j + 1] = to_float(Float16{static_cast<uint16_t>(from.at[j] >> 16)});
    }
  } else {
    std::memcpy(&to, &from, sizeof to);
  }
}

// Makes the compiler forget what it has computed from a slot: without this it keeps the widened
// numbers of a whole row for the second pass, in twice the registers.
inline __device__ void stay_packed(Slot& slot) {
#if defined(__CUDA_ARCH__)
  asm volatile("" : "+r"(slot.at[0]), "+r"(slot.at[1]), "+r"(slot.at[2]), "+r"(slot.at[3]));
#else
  (void)slot;
#endif
}

// Two 16-bit floats, by one instruction from sm_80 on.
template <class T>
inline __device__ uint32_t narrow_pair(float a, float b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t both;
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm("cvt.rn.bf16x2.f32 %0, %2, %1;" : "=r"(both) : "f"(a), "f"(b));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %2, %1;" : "=r"(both) : "f"(a), "f"(b));
  }
  return both;
#else
  return from_float<T>(a).bits | uint32_t(from_float<T>(b).bits) << 16;
#endif
}

template <class T>
inline __device__ Slot narrow(const accumulator_t<T> (&from)[kPack<T>]) {
  Slot to;
  if constexpr (sizeof(T) == 2) {
#pragma unroll
    for (int j = 0; j < 4; ++j) to.at[j] = narrow_pair<T>(from[2 * j], from[2 * j + 1]);
  } else {
    std::memcpy(&to, &from, sizeof to);
  }
  return to;
}

// The slots of a row, or of one part of a row that several blocks share, in either view. Positions
// count elements from slot 0, so that they fit 32 bits.
template <class T>
struct RowPart {
  const T* data = nullptr;  // position 0; as the row lies: on 16 bytes
  int64_t column = 0;       // of position 0; negative where slot 0 begins in the row before
  int begin = 0, end = 0;   // positions [begin, end) are of the part; 0 is the first of columns()
  int first = 0, last = 0;  // slots [first, last) lie on 16 bytes and within the matrix

  __device__ RowPart columns() const {
    return {data + begin, column + begin, 0, end - begin, 0, 0};
  }
  __device__ int slots() const { return (end + kPack<T> - 1) / kPack<T>; }
  __device__ bool whole(int slot) const {
    return slot * kPack<T> >= begin && (slot + 1) * kPack<T> <= end;
  }
  // Slots [whole_begin(), whole_end()) are of this part alone.
  __device__ int whole_begin() const { return begin > 0 ? 1 : 0; }
  __device__ int whole_end() const { return end / kPack<T>; }
  __device__ bool readable(int slot) const { return slot >= first && slot < last; }
  // The slots of memory that hold the first `count` slots of columns.
  __device__ int beneath(int count) const { return count + (begin > 0 && count > 0 ? 1 : 0); }
  // The place of a column in columns(), or one that no slot holds.
  __device__ int position(int64_t of_column) const {
    const int64_t at = of_column - column;
    return at >= begin && at < end ? static_cast<int>(at) - begin : -kPack<T>;
  }
};

// Whether rows may begin anywhere: the same for all rows of a matrix.
template <class T>
inline __device__ bool rows_shift(const T* x, int64_t columns) {
  return columns % kPack<T> != 0 || reinterpret_cast<uintptr_t>(x) % 16 != 0;
}

// Slots of columns in every part but the last.
template <class T>
SP_HOST_DEVICE inline int64_t slots_of_part(int64_t columns, int64_t parts) {
  return ((columns + kPack<T> - 1) / kPack<T> + parts - 1) / parts;
}

// Part `part` of `parts` of row `row` of x (rows, columns), as it lies.
template <class T>
inline __device__ RowPart<T> row_part(const T* x, int64_t rows, int64_t columns, int64_t row,
                                      int part = 0, int parts = 1) {
  constexpr int E = kPack<T>;
  const int64_t most = parts == 1 ? columns : slots_of_part<T>(columns, parts) * E;
  const int64_t from = part * most, left = columns - from;
  RowPart<T> out;
  if (left <= 0) return out;  // a short row: nothing is left for this part
  const T* start = x + row * columns + from;
  const int before = static_cast<int>(reinterpret_cast<uintptr_t>(start) % 16 / sizeof(T));
  out.data = start - before;
  out.column = from - before;
  out.begin = before;
  out.end = before + static_cast<int>(left < most ? left : most);
  // Short rows have several others in a slot: what counts is where the matrix begins and ends.
  const int64_t at = row * columns + out.column;
  out.first = at < 0 ? 1 : 0;
  out.last = at + int64_t(out.slots()) * E > rows * columns ? out.slots() - 1 : out.slots();
  return out;
}

// The low word of two, `bits` < 32 further on.
inline __device__ uint32_t shift_words(uint32_t low, uint32_t high, int bits) {
#if defined(__CUDA_ARCH__)
  return __funnelshift_r(low, high, bits);
#else
  return static_cast<uint32_t>((uint64_t{high} << 32 | low) >> bits);
#endif
}

// The slot that begins `before` elements after the beginning of `low`, with `high` behind it.
template <class T>
inline __device__ Slot joined(const Slot& low, const Slot& high, int before) {
  uint32_t words[8];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    words[i] = low.at[i];
    words[i + 4] = high.at[i];
  }
  const int bytes = before * static_cast<int>(sizeof(T));
#pragma unroll
  for (int i = 0; i < 6; ++i) words[i] = bytes & 8 ? words[i + 2] : words[i];
  if constexpr (sizeof(T) < 8) {
#pragma unroll
    for (int i = 0; i < 5; ++i) words[i] = bytes & 4 ? words[i + 1] : words[i];
  }
  if constexpr (sizeof(T) < 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) words[i] = shift_words(words[i], words[i + 1], bytes % 4 * 8);
  }
  Slot out;
#pragma unroll
  for (int i = 0; i < 4; ++i) out.at[i] = words[i];
  return out;
}

// The slot of the next of `lanes` neighbouring lanes; the last of them gets `after` of the first.
// All 32 lanes of the warp come here together.
inline __device__ Slot slot_of_next(const Slot& own, const Slot& after, int lanes) {
  const int lane = lane_index(), place = lane & (lanes - 1);
  const int from = lane - place + ((place + 1) & (lanes - 1));
  Slot out;
#pragma unroll
  for (int i = 0; i < 4; ++i) out.at[i] = shuffle(place == 0 ? after.at[i] : own.at[i], from);
  return out;
}

// The elements of a slot that are of the row, one by one; zeros beside them.
template <class T>
inline __device__ Slot load_elements(const RowPart<T>& row, int slot) {
  constexpr int E = kPack<T>;
  T elements[E] = {};
#pragma unroll
  for (int j = 0; j < E; ++j) {
    const int at = slot * E + j;
    if (at >= row.begin && at < row.end) elements[j] = load(row.data + at);
  }
  Slot out;
  std::memcpy(&out, &elements, sizeof out);
  return out;
}

// A slot from global memory, as it lies there; what lies beyond the matrix is left zero.
template <class T>
inline __device__ Slot load_slot(const RowPart<T>& row, int slot) {
  if (!row.readable(slot)) return load_elements(row, slot);
  return load_once(reinterpret_cast<const Slot*>(row.data + slot * kPack<T>));
}

// The same of slots first, first + step, ... below `end`; zeros for those that are not.
template <class T, int N>
inline __device__ void load_slots(const RowPart<T>& row, int first, int step, int end,
                                  Slot (&to)[N]) {
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const int slot = first + k * step;
    to[k] = Slot{};
    if (slot < end && row.readable(slot))
      to[k] = load_once(reinterpret_cast<const Slot*>(row.data + slot * kPack<T>));
  }
  // Beyond the matrix may reach its first row's first slot and its last row's last.
#pragma unroll 1
  for (int slot = 0; slot < end; slot = slot < row.last ? row.last : end) {
    if (row.readable(slot)) continue;
    const Slot elements = load_elements(row, slot);
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (slot == first + k * step) to[k] = elements;
  }
}

// 16 bytes of an array of `size` elements, from element `at`, wherever they lie: of the two reads
// that a slot of memory then gets L1 serves the second.
template <class T>
inline __device__ Slot load_anywhere(const T* array, int64_t size, int64_t at) {
  constexpr int E = kPack<T>;
  const int before = static_cast<int>(reinterpret_cast<uintptr_t>(array + at) % 16 / sizeof(T));
  if (before == 0) return load_once(reinterpret_cast<const Slot*>(array + at));
  const auto* low = reinterpret_cast<const Slot*>(array + at - before);
  if (at >= before && at - before + 2 * E <= size)
    return joined<T>(load(low), load(low + 1), before);
  T elements[E];
#pragma unroll
  for (int j = 0; j < E; ++j) elements[j] = load(array + at + j);
  Slot out;
  std::memcpy(&out, &elements, sizeof out);
  return out;
}

// What is not of the row becomes `fill`.
template <class T>
inline __device__ void mask_slot(const RowPart<T>& row, int slot, accumulator_t<T> fill,
                                 accumulator_t<T> (&x)[kPack<T>]) {
  if (row.whole(slot)) return;
#pragma unroll
  for (int j = 0; j < kPack<T>; ++j) {
    const int at = slot * kPack<T> + j;
    if (at < row.begin || at >= row.end) x[j] = fill;
  }
}

// Writes the elements of a slot that are of the row, one by one.
template <class T>
inline __device__ void store_elements(T* out_row, const RowPart<T>& row, int slot,
                                      const accumulator_t<T> (&y)[kPack<T>]) {
  T* const to = out_row + row.column;
#pragma unroll
  for (int j = 0; j < kPack<T>; ++j) {
    const int at = slot * kPack<T> + j;
    if (at >= row.begin && at < row.end) store(to + at, narrowed<T>(y[j]));
  }
}

// Whether an output of the same shape lies as the row does against 16 bytes.
template <class T>
inline __device__ bool lies_alike(const T* out_row, const RowPart<T>& row) {
  return reinterpret_cast<uintptr_t>(out_row + row.column) % 16 == 0;
}

// The same by 16 bytes where the slot is whole and the output lies alike.
template <class T>
inline __device__ void store_slot(T* out_row, const RowPart<T>& row, int slot,
                                  const accumulator_t<T> (&y)[kPack<T>]) {
  T* const to = out_row + row.column + slot * kPack<T>;
  if (!row.whole(slot) || reinterpret_cast<uintptr_t>(to) % 16 != 0)
    return store_elements(out_row, row, slot, y);
  store_once(reinterpret_cast<Slot*>(to), narrow<T>(y));
}

// E elements of an array of `size`, from element `from` on, that lie beside a slot of a row: by 16
// bytes wherever they lie, and one by one for an edge, whose first element is at position `at` of
// [begin, end). What is not of the row becomes `fill`.
template <class U, int E, class Real>
inline __device__ void load_beside(const U* array, int64_t size, int64_t from, bool whole,
                                   int begin, int end, int at, Real fill, Real (&to)[E]) {
  if constexpr (sizeof(U) * E >= 16) {
    constexpr int kEach = kPack<U>;
    const int before = static_cast<int>(reinterpret_cast<uintptr_t>(array + from) % 16 / sizeof(U));
    const bool inside = from >= before && from - before + E + kEach <= size;
    if (whole && (before == 0 || inside)) {
      const auto* slots = reinterpret_cast<const Slot*>(array + from - before);
#pragma unroll
      for (int k = 0; k < E / kEach; ++k) {
        Slot here = load(slots + k);
        if (before > 0) here = joined<U>(here, load(slots + k + 1), before);
        accumulator_t<U> part[kEach];
        widen<U>(here, part);
#pragma unroll
        for (int j = 0; j < kEach; ++j) to[k * kEach + j] = static_cast<Real>(part[j]);
      }
      return;
    }
  }
#pragma unroll
  for (int j = 0; j < E; ++j)
    to[j] =
        at + j >= begin && at + j < end ? static_cast<Real>(widened(load(array + from + j))) : fill;
}

}  // namespace surprisal::cuda
