// Rows of a contiguous matrix as runs of 16-byte slots, whatever the alignment of a row. With an
// odd number of columns rows begin anywhere: the first and the last slot of a row are shared with
// its neighbours. These edges are written element by element, and read so (load_elements) or whole
// with `fill` for what is not of the row (load_slot, mask_slot), which goes by elements only where
// a slot reaches beyond the whole matrix. All else moves by 16 bytes, at any alignment and in any
// dtype.
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

// The slots of a row, or of one part of a row that several blocks share. Positions count elements
// from slot 0, so that they fit 32 bits.
template <class T>
struct RowPart {
  const T* data = nullptr;  // slot 0, 16-byte aligned
  int64_t column = 0;       // of position 0; negative where slot 0 begins in the row before
  int begin = 0, end = 0;   // positions [begin, end) are of the row
  int first = 0, last = 0;  // slots [first, last) lie within the matrix

  __device__ int slots() const { return (end + kPack<T> - 1) / kPack<T>; }
  __device__ bool whole(int slot) const {
    return slot * kPack<T> >= begin && (slot + 1) * kPack<T> <= end;
  }
  // Slots [whole_begin(), whole_end()) are of this row alone. The others are its edges: two at
  // most.
  __device__ int whole_begin() const { return begin > 0 ? 1 : 0; }
  __device__ int whole_end() const { return end / kPack<T>; }
  // Edge 0 or 1, or -1 if the row begins or ends with a slot of its own.
  __device__ int edge(int i) const {
    if (i == 0) return begin > 0 ? 0 : -1;
    return i == 1 && end % kPack<T> != 0 && whole_end() >= whole_begin() ? whole_end() : -1;
  }
  __device__ bool readable(int slot) const { return slot >= first && slot < last; }
  // The position of a column, or one that no slot holds.
  __device__ int position(int64_t of_column) const {
    const int64_t at = of_column - column;
    return at >= begin && at < end ? static_cast<int>(at) : -kPack<T>;
  }
};

// Slots of every part but the last, so that the parts of a row do not depend on its alignment.
template <class T>
SP_HOST_DEVICE inline int64_t slots_of_part(int64_t columns, int64_t parts) {
  const int64_t slots = (columns + 2 * kPack<T> - 2) / kPack<T>;  // at the worst alignment
  return (slots + parts - 1) / parts;
}

// Part `part` of `parts` of row `row` of x (rows, columns).
template <class T>
inline __device__ RowPart<T> row_part(const T* x, int64_t rows, int64_t columns, int64_t row,
                                      int part = 0, int parts = 1) {
  constexpr int E = kPack<T>;
  const T* start = x + row * columns;
  const int before = static_cast<int>(reinterpret_cast<uintptr_t>(start) % 16 / sizeof(T));
  const int64_t per_part = parts == 1 ? 0 : slots_of_part<T>(columns, parts);
  const int64_t from = part * per_part * E;  // from the first slot of the row
  const int64_t length = before + columns;
  const int64_t to = part + 1 == parts ? length : (part + 1) * per_part * E;
  RowPart<T> out;
  if (from >= length) return out;  // a short row: nothing is left for this part
  out.data = start - before + from;
  out.column = from - before;
  out.begin = part == 0 ? before : 0;
  out.end = static_cast<int>((to < length ? to : length) - from);
  // Short rows have several others in a slot: what counts is where the matrix begins and ends.
  out.first = part == 0 && row * columns < before ? 1 : 0;
  const int64_t ends = row * columns - before + (length + E - 1) / E * E;
  out.last = to >= length && ends > rows * columns ? out.end / E : out.slots();
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

// E elements of another matrix at the same columns as a slot, wherever they lie: by 16 bytes where
// their address allows. Positions that are not of the row become `fill`.
template <class U, int E, class Real>
inline __device__ void load_beside(const U* from, bool whole, int begin, int end, int at, Real fill,
                                   Real (&to)[E]) {
  if constexpr (sizeof(U) * E >= 16) {
    if (whole && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
#pragma unroll
      for (int k = 0; k < E / kPack<U>; ++k) {
        accumulator_t<U> part[kPack<U>];
        widen<U>(load(reinterpret_cast<const Slot*>(from) + k), part);
#pragma unroll
        for (int j = 0; j < kPack<U>; ++j) to[k * kPack<U> + j] = static_cast<Real>(part[j]);
      }
      return;
    }
  }
#pragma unroll
  for (int j = 0; j < E; ++j)
    to[j] = at + j >= begin && at + j < end ? static_cast<Real>(widened(load(from + j))) : fill;
}

}  // namespace surprisal::cuda
