// Lists in scratch memory that grow, and the sort of the cells that survive pruning.
#pragma once
#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/scratch.h"
#include "ops/betti_matching/cancel.h"

namespace surprisal::betti_matching {

template <class T>
class List {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  List() = default;
  explicit List(int64_t capacity) { reserve(capacity); }
  ~List() { release(); }
  List(List&& other) noexcept { swap(other); }
  List& operator=(List&& other) noexcept {
    swap(other);
    return *this;
  }

  // Few sizes of small lists, so that memory given back by one image serves the next.
  void reserve(int64_t capacity) {
    if (capacity <= capacity_) return;
    if (capacity < kSmall) {
      int64_t rounded = 256;
      while (rounded < capacity) rounded *= 2;
      capacity = rounded;
    }
    T* wider = static_cast<T*>(scratch_take(static_cast<size_t>(capacity) * sizeof(T)));
    if (size_) std::memcpy(wider, data_, static_cast<size_t>(size_) * sizeof(T));
    release();
    data_ = wider;
    capacity_ = capacity;
  }
  void push(T value) {
    if (size_ == capacity_) reserve(std::max<int64_t>(1, 2 * capacity_));
    data_[size_++] = value;
  }
  // Gives back what it does not need.
  void fit() {
    if (capacity_ - size_ < kSmall) return;
    List other(size_);
    if (size_) std::memcpy(other.data_, data_, static_cast<size_t>(size_) * sizeof(T));
    other.size_ = size_;
    swap(other);
  }
  void clear() { size_ = 0; }
  void resize(int64_t size) {
    reserve(size);
    size_ = size;
  }
  void swap(List& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  int64_t size() const { return size_; }
  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }
  T* begin() const { return data_; }
  T* end() const { return data_ + size_; }

 private:
  static constexpr int64_t kSmall = 1 << 14;

  void release() {
    if (data_) scratch_give(data_, static_cast<size_t>(capacity_) * sizeof(T));
    data_ = nullptr;
  }

  T* data_ = nullptr;
  int64_t size_ = 0, capacity_ = 0;
};

// Sorts entries of grid.h's `ordered` that come in the order of their numbers: by value alone,
// stably.
inline void sort_by_value(List<uint64_t>& list) {
  const int64_t n = list.size();
  if (n < 512) return std::sort(list.begin(), list.end());
  constexpr int kBits = 11, kBuckets = 1 << kBits;
  uint32_t counts[3][kBuckets] = {};
  for (int64_t i = 0; i < n; ++i) {
    check_cancelled_at(i);
    const uint32_t value = static_cast<uint32_t>(list[i] >> 32);
    ++counts[0][value & (kBuckets - 1)];
    ++counts[1][value >> kBits & (kBuckets - 1)];
    ++counts[2][value >> 2 * kBits];
  }
  List<uint64_t> other(n);
  other.resize(n);
  for (int digit = 0; digit < 3; ++digit) {
    uint32_t* count = counts[digit];
    const int shift = 32 + digit * kBits;
    if (count[list[0] >> shift & (kBuckets - 1)] == n) continue;  // one digit for all
    uint32_t start = 0;
    for (int b = 0; b < kBuckets; ++b) {
      const uint32_t size = count[b];
      count[b] = start;
      start += size;
    }
    for (int64_t i = 0; i < n; ++i) {
      check_cancelled_at(i);
      const uint64_t entry = list[i];
      other[count[entry >> shift & (kBuckets - 1)]++] = entry;
    }
    list.swap(other);
  }
}

}  // namespace surprisal::betti_matching
