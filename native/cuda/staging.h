// Page-locked memory between pageable memory of the host and the device.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <vector>

namespace surprisal::cuda {

class Context;

// Host to device. The source is copied into a ring at once, so that the caller may change it; a
// slot of the ring is used again when its copies are done. Large pieces cross the bus on the upload
// stream into buffers on the device, while earlier work still computes, and are put in their place
// by the compute stream, which alone knows when the destination is free. Small pieces have a ring
// of their own, whose copies wait for that work: a slot of the other waits for the bus alone.
class Uploads {
 public:
  explicit Uploads(Context& context) : context_(context) {}
  // With the context's lock held, also while it waits for the device.
  void upload(void* to, const void* from, int64_t bytes);
  // A part of that, without waiting: gives its bytes, or 0 with the event to wait for.
  int64_t upload_some(void* to, const void* from, int64_t bytes, void** busy);
  // Gives the driver the buffers that are not being filled.
  void release();

 private:
  static constexpr int kSlots = 4;
  static constexpr int64_t kSlotBytes = 4 << 20;
  static constexpr int64_t kBusFrom = 256 << 10;  // smaller pieces are not worth three more calls
  static constexpr int kMostBuffers = 16;         // so many slots may be ahead of the work
  struct Buffer {
    char* data = nullptr;
    void* placed = nullptr;  // recorded on the compute stream after the copies out of it
  };
  struct Slot {
    char* host = nullptr;
    Buffer buffer;          // on the device; none for small pieces, or where memory has run out
    void* event = nullptr;  // recorded once the slot is full, after the copies out of it
    int64_t used = 0;
  };
  struct Ring {
    std::array<Slot, kSlots> slots;
    int current = 0;
  };
  Slot* slot_with_room(Ring& ring, void** busy);
  Buffer next_buffer();
  void close(Ring& ring);

  Context& context_;
  Ring small_, large_;
  std::deque<Buffer> buffers_;  // of full slots, in their order
  int made_ = 0;
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
