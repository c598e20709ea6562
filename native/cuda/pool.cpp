#include "cuda/pool.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "cuda/context.h"
#include "cuda/reader.h"

namespace surprisal::cuda {
namespace {

int64_t block_bytes(int64_t bytes) {
  return wants_exact() ? std::max<int64_t>(bytes, 1) : size_class(bytes);
}

}  // namespace

bool wants_exact() {
  static const bool exact = [] {
    const char* text = std::getenv("SURPRISAL_POOL");
    return text && std::strcmp(text, "exact") == 0;
  }();
  return exact;
}

int64_t size_class(int64_t bytes) {
  constexpr int64_t kStep = 512;
  int64_t octave = 8 * kStep;
  while (octave <= bytes / 2) octave *= 2;
  const int64_t step = octave / 8;
  return (bytes + step - 1) / step * step;
}

Pool::~Pool() { release_cached(); }

driver::Status Pool::take(int64_t bytes, void** out) {
  const int64_t size = block_bytes(bytes);
  const auto kept = free_.find(size);
  if (kept != free_.end() && !kept->second.empty()) {
    *out = kept->second.back();
    kept->second.pop_back();
    cached_ -= size;
  } else {
    const driver::Status status =
        driver::allocate(out, size, context_.memory_pool(), context_.memory_stream());
    if (status) return status;
    context_.reserved += size;
  }
  driver::reuse(*out, bytes, context_.stream_of(*this));
  return 0;
}

void Pool::give(void* data, int64_t bytes) {
  const int64_t size = block_bytes(bytes);
  driver::retire(data, context_.stream_of(*this));
  if (!keeps_ || size > limit_ - cached_) {
    const DeviceGuard guard(context_);
    driver::release(data, context_.memory_stream());
    context_.reserved -= size;
    return;
  }
  free_[size].push_back(data);
  cached_ += size;
}

void Pool::release_cached() {
  const DeviceGuard guard(context_);
  for (auto& [size, blocks] : free_) {
    for (void* data : blocks) driver::release(data, context_.memory_stream());
    context_.reserved -= size * static_cast<int64_t>(blocks.size());
    blocks.clear();
  }
  cached_ = 0;
}

Block::~Block() {
  if (owner) Reader::instance().release_later(context, std::move(owner));
  if (!pool) return;
  std::lock_guard<std::recursive_mutex> lock(context.mutex);
  const std::shared_ptr<Pool> to = std::move(pool);  // which may end here, under the lock
  if (counted) context.live -= bytes;
  to->give(data, bytes);
}

}  // namespace surprisal::cuda
