#include "cuda/staging.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "cuda/context.h"
#include "cuda/error.h"

namespace surprisal::cuda {

void Uploads::prepare() {
  for (Slot& slot : slots_) {
    if (!slot.host)
      context_.check(driver::host_allocate(reinterpret_cast<void**>(&slot.host), kSlotBytes),
                     "page-locked memory");
    if (!slot.device)
      context_.check(driver::allocate(reinterpret_cast<void**>(&slot.device), kSlotBytes,
                                      context_.memory_pool(), context_.stream()),
                     "staging memory");
  }
  // The upload stream writes into memory that the compute stream has allocated.
  context_.order(context_.stream(), context_.upload_stream());
}

void Uploads::next_slot() {
  slots_[current_].event = context_.record(context_.stream());
  current_ = (current_ + 1) % kSlots;
  Slot& slot = slots_[current_];
  if (slot.event) {
    context_.check(driver::event_synchronize(slot.event), "upload");
    context_.give_event(slot.event);
    slot.event = nullptr;
  }
  slot.used = 0;
}

void Uploads::upload(void* to, const void* from, int64_t bytes) {
  constexpr int64_t kAlign = 256;
  if (!slots_[kSlots - 1].device) prepare();
  auto* target = static_cast<char*>(to);
  auto* source = static_cast<const char*>(from);
  while (bytes > 0) {
    if (slots_[current_].used >= kSlotBytes) next_slot();
    Slot& slot = slots_[current_];
    const int64_t piece = std::min(bytes, kSlotBytes - slot.used);
    char* host = slot.host + slot.used;
    char* device = slot.device + slot.used;
    slot.used += (piece + kAlign - 1) / kAlign * kAlign;
    std::memcpy(host, source, static_cast<size_t>(piece));
    if (piece < kBusFrom) {
      context_.check(driver::copy(target, host, piece, context_.stream()), "upload");
    } else {
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
