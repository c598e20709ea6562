#include "cuda/staging.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "cuda/context.h"
#include "cuda/error.h"

namespace surprisal::cuda {

Uploads::Slot& Uploads::slot_with_room() {
  if (slots_[current_].used >= kSlotBytes) {
    slots_[current_].event = context_.record(context_.stream());
    current_ = (current_ + 1) % kSlots;
    slots_[current_].used = 0;
  }
  Slot& slot = slots_[current_];
  if (slot.event) {
    context_.check(driver::event_synchronize(slot.event), "upload");
    context_.give_event(slot.event);
    slot.event = nullptr;
  }
  if (!slot.host)
    context_.check(driver::host_allocate(reinterpret_cast<void**>(&slot.host), kSlotBytes),
                   "page-locked memory");
  return slot;
}

// Without it, when memory has run out, the copy goes straight to its place.
bool Uploads::has_device_memory(Slot& slot) {
  if (slot.device) return true;
  void* memory = nullptr;
  const driver::Status status =
      driver::allocate(&memory, kSlotBytes, context_.memory_pool(), context_.stream());
  if (status == driver::kOutOfMemory) return false;
  context_.check(status, "staging memory");
  // The upload stream writes into what the compute stream has allocated.
  context_.order(context_.stream(), context_.upload_stream());
  slot.device = static_cast<char*>(memory);
  return true;
}

void Uploads::upload(void* to, const void* from, int64_t bytes) {
  constexpr int64_t kAlign = 256;
  auto* target = static_cast<char*>(to);
  auto* source = static_cast<const char*>(from);
  while (bytes > 0) {
    Slot& slot = slot_with_room();
    const int64_t piece = std::min(bytes, kSlotBytes - slot.used);
    char* host = slot.host + slot.used;
    const int64_t offset = slot.used;
    slot.used += (piece + kAlign - 1) / kAlign * kAlign;
    std::memcpy(host, source, static_cast<size_t>(piece));
    if (piece < kBusFrom || !has_device_memory(slot)) {
      context_.check(driver::copy(target, host, piece, context_.stream()), "upload");
    } else {
      char* device = slot.device + offset;
      context_.check(driver::copy(device, host, piece, context_.upload_stream()), "upload");
      context_.order(context_.upload_stream(), context_.stream());
      context_.check(driver::copy(target, device, piece, context_.stream()), "upload");
    }
    target += piece;
    source += piece;
    bytes -= piece;
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
