// Temporary memory of kernels: 64-byte aligned, uninitialised, in huge pages when large, recycled
// process-wide so that a training step allocates nothing after its first run.
#pragma once
#include <cstddef>
#include <cstdint>

namespace surprisal {

void* scratch_take(size_t bytes);  // throws Error(Code::out_of_memory)
void scratch_give(void* data, size_t bytes) noexcept;
size_t scratch_live_bytes();    // in use by running kernels
size_t scratch_cached_bytes();  // kept for the next kernel
size_t scratch_peak_bytes(bool reset);
void scratch_trim() noexcept;  // frees what is kept

// Asks the kernel to back a large, page-aligned part of the range by huge pages.
void advise_huge(void* data, size_t bytes) noexcept;

template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count = 0)
      : bytes_(static_cast<size_t>(count) * sizeof(T)),
        data_(count ? static_cast<T*>(scratch_take(bytes_)) : nullptr) {}
  ~Scratch() {
    if (data_) scratch_give(data_, bytes_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  size_t bytes_;
  T* data_;
};

}  // namespace surprisal
