#include "cuda/staging.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "cuda/context.h"
#include "cuda/error.h"

namespace surprisal::cuda {

// Of a ring; null where its next slot is still being copied.
Uploads::Slot* Uploads::slot_with_room(Ring& ring, void** busy) {
  Slot& slot = ring.slots[ring.current];
  if (slot.event) {
    const driver::Status status = driver::event_query(slot.event);
    if (status == driver::kNotReady) {
      *busy = slot.event;
      return nullptr;
    }
    context_.check(status, "upload");
    context_.give_event(slot.event);
    slot.event = nullptr;
  }
  if (!slot.host)
    context_.check(driver::host_allocate(reinterpret_cast<void**>(&slot.host), kSlotBytes),
                   "page-locked memory");
  if (slot.used == 0 && &ring == &large_) slot.buffer = next_buffer();
  return &slot;
}

// Memory that the upload stream may write: what is free, else new, else what will be free next.
// Without any, when memory has run out, the copy goes straight to its place.
Uploads::Buffer Uploads::next_buffer() {
  const bool is_free = !buffers_.empty() && driver::event_query(buffers_.front().placed) == 0;
  if (!is_free && made_ < kMostBuffers) {
    void* memory = nullptr;
    const driver::Status status =
        driver::allocate(&memory, kSlotBytes, context_.memory_pool(), context_.upload_stream());
    if (status != driver::kOutOfMemory) {
      context_.check(status, "staging memory");
      ++made_;
      return {static_cast<char*>(memory), nullptr};
    }
  }
  if (buffers_.empty()) return {};
  Buffer next = buffers_.front();
  buffers_.pop_front();
  context_.check(driver::stream_wait(context_.upload_stream(), next.placed), "upload");
  context_.give_event(next.placed);
  next.placed = nullptr;
  return next;
}

// The slot is full. Its bytes have left it when the bus is done with them, or its own copies.
void Uploads::close(Ring& ring) {
  Slot& slot = ring.slots[ring.current];
  slot.event = context_.record(slot.buffer.data ? context_.upload_stream() : context_.stream());
  if (slot.buffer.data) {
    slot.buffer.placed = context_.record(context_.stream());
    buffers_.push_back(slot.buffer);
    slot.buffer = {};
  }
  slot.used = 0;
  ring.current = (ring.current + 1) % kSlots;
}

int64_t Uploads::upload_some(void* to, const void* from, int64_t bytes, void** busy) {
  constexpr int64_t kAlign = 256;
  Ring& ring = bytes < kBusFrom ? small_ : large_;
  Slot* slot = slot_with_room(ring, busy);
  if (!slot) return 0;
  const int64_t offset = slot->used, piece = std::min(bytes, kSlotBytes - offset);
  slot->used += (piece + kAlign - 1) / kAlign * kAlign;
  char* host = slot->host + offset;
  std::memcpy(host, from, static_cast<size_t>(piece));
  if (slot->buffer.data) {
    char* buffer = slot->buffer.data + offset;
    context_.check(driver::copy(buffer, host, piece, context_.upload_stream()), "upload");
    context_.order(context_.upload_stream(), context_.stream());
    host = buffer;
  }
  context_.check(driver::copy(to, host, piece, context_.stream()), "upload");
  if (slot->used == kSlotBytes) close(ring);
  return piece;
}

void Uploads::release() {
  for (const Buffer& buffer : buffers_) {
    driver::release(buffer.data, context_.memory_stream());
    context_.give_event(buffer.placed);
    --made_;
  }
  buffers_.clear();
}

void Uploads::upload(void* to, const void* from, int64_t bytes) {
  for (int64_t done = 0; done < bytes;) {
    void* busy = nullptr;
    const int64_t piece = upload_some(static_cast<char*>(to) + done,
                                      static_cast<const char*>(from) + done, bytes - done, &busy);
    if (piece == 0) context_.check(driver::event_synchronize(busy), "upload");
    done += piece;
  }
}

namespace {

struct Landings {
  std::mutex mutex;
  std::vector<char*> free[3];
};
constexpr int64_t kLandingSizes[] = {4 << 10, 128 << 10, kLargestLanding};

Landings& landings() {
  static auto* instance = new Landings;
  return *instance;
}
int landing_class(int64_t bytes) {
  return bytes <= kLandingSizes[0] ? 0 : bytes <= kLandingSizes[1] ? 1 : 2;
}

}  // namespace

Landing take_landing(int64_t bytes) {
  const int size = landing_class(bytes);
  {
    std::lock_guard<std::mutex> lock(landings().mutex);
    auto& free = landings().free[size];
    if (!free.empty()) {
      char* data = free.back();
      free.pop_back();
      return {data, kLandingSizes[size]};
    }
  }
  void* data = nullptr;
  const driver::Status status = driver::host_allocate(&data, kLandingSizes[size]);
  if (status) throw Error(Code::out_of_memory, "cuda: no page-locked memory: " + describe(status));
  return {static_cast<char*>(data), kLandingSizes[size]};
}

void give_landing(Landing landing) {
  if (!landing.data) return;
  std::lock_guard<std::mutex> lock(landings().mutex);
  landings().free[landing_class(landing.bytes)].push_back(landing.data);
}

}  // namespace surprisal::cuda
