#include "cuda/arena.h"

#include <algorithm>

#include "cuda/context.h"

namespace surprisal::cuda {

void* Arena::take(int64_t bytes) {
  const bool exact = wants_exact();
  const int64_t align = exact ? 1 : 256, smallest = exact ? 1 : 1 << 20;
  bytes = (std::max<int64_t>(bytes, 1) + align - 1) / align * align;
  if (exact || chunks_.empty() || offset_ + bytes > chunks_.back()->bytes) {
    chunks_.push_back(context_.allocate(std::max({bytes, wanted_, smallest}), false));
    offset_ = 0;
  }
  void* out = static_cast<char*>(chunks_.back()->data) + offset_;
  offset_ += bytes;
  used_ += bytes;
  peak_ = std::max(peak_, used_);
  return out;
}

void Arena::reset() {
  if (used_ == 0) return;
  // In pieces it cannot serve a large request: one chunk for all next time.
  if (wants_exact()) {
    chunks_.clear();
  } else if (chunks_.size() > 1) {
    wanted_ = std::max(wanted_, used_);
    chunks_.clear();
  } else {
    driver::reuse(chunks_.back()->data, chunks_.back()->bytes, context_.stream());
  }
  offset_ = used_ = 0;
}

int64_t Arena::peak(bool reset) {
  const int64_t before = peak_;
  if (reset) peak_ = used_;
  return before;
}

}  // namespace surprisal::cuda
