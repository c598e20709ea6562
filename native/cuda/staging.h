// Page-locked memory between pageable memory of the host and the device.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

namespace surprisal::cuda {

class Context;

// Host to device. The source is copied into a ring at once, so that the caller may change it; a
// slot of the ring is used again when its copies are done. Large pieces cross the bus on the upload
// stream into a ring on the device, while earlier work still computes, and are put in their place
// by the compute stream, which alone knows when the destination is free.
class Uploads {
 public:
  explicit Uploads(Context& context) : context_(context) {}
  void upload(void* to, const void* from, int64_t bytes);

 private:
  static constexpr int kSlots = 4;
  static constexpr int64_t kSlotBytes = 4 << 20;
  static constexpr int64_t kBusFrom = 256 << 10;  // smaller pieces are not worth three more calls
  struct Slot {
    char* host = nullptr;
    char* device = nullptr;
    void* event = nullptr;  // recorded once the slot is full
    int64_t used = 0;
  };
  Slot& slot_with_room();
  bool has_device_memory(Slot& slot);

  Context& context_;
  std::array<Slot, kSlots> slots_;
  int current_ = 0;
};

// Page-locked buffers that reads land in, by size, kept for the next. Shared by all devices.
struct Landing {
  char* data = nullptr;
  int64_t bytes = 0;
};
constexpr int64_t kLargestLanding = 4 << 20;
Landing take_landing(int64_t bytes);  // at most kLargestLanding; throws Error
void give_landing(Landing landing);

}  // namespace surprisal::cuda
