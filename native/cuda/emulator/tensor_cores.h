// The emulator's copies in the background (cp.async) and matrix instructions of sm_80. Included by
// emulator/device.h only.
#pragma once

namespace surprisal::cuda {

// --- copies in the background --------------------------------------------------------------------
inline void copy_async16(void* to, const void* from, bool valid, SP_SITE) {
  using namespace emulator;
  if (valid) check_read<16, 16>(from, site);
  check_write<16, 16>(to, site);
  set_state(to, 16, kDestination);
  current->copies.push_back({to, valid ? from : nullptr});
}
inline void copy_async_commit() {
  emulator::Thread& t = *emulator::current;
  t.copy_groups.push_back(t.copies.size() - t.grouped);
  t.grouped = t.copies.size();
}
template <int N>
inline void copy_async_wait(SP_SITE) {
  using namespace emulator;
  Thread& t = *current;
  yield("copy_async_wait", site);
  while (t.copy_groups.size() > N) {
    const auto done = static_cast<std::ptrdiff_t>(t.copy_groups.front());
    for (std::ptrdiff_t i = 0; i < done; ++i) {
      const AsyncCopy& copy = t.copies[static_cast<size_t>(i)];
      if (copy.from) {
        check_read<16, 16>(copy.from, site);
        std::memcpy(copy.to, copy.from, 16);
      } else {
        std::memset(copy.to, 0, 16);
      }
      set_state(copy.to, 16, kInitialised);
    }
    t.copies.erase(t.copies.begin(), t.copies.begin() + done);
    t.copy_groups.erase(t.copy_groups.begin());
    t.grouped -= static_cast<size_t>(done);
  }
}

// --- matrix instructions -------------------------------------------------------------------------
namespace emulator {

// The 16-bit element `column` of the row of eight that `lane` gave the address of.
inline uint32_t element_of_row(const uint64_t* rows, int lane, int column) {
  uint16_t bits;
  std::memcpy(&bits, reinterpret_cast<const char*>(rows[lane]) + 2 * column, 2);
  return bits;
}

template <class T>
inline float half_of(uint32_t pair, int which) {
  return to_float(T{static_cast<uint16_t>(pair >> 16 * which)});
}

}  // namespace emulator

inline void load_tiles(uint32_t (&r)[4], const void* row, SP_SITE) {
  emulator::check_read<16, 16>(row, site);
  const uint64_t* rows = emulator::exchange("load_tiles", reinterpret_cast<uint64_t>(row), site);
  const int line = lane_index() / 4, column = lane_index() % 4 * 2;
  for (int i = 0; i < 4; ++i) {
    r[i] = emulator::element_of_row(rows, 8 * i + line, column) |
           emulator::element_of_row(rows, 8 * i + line, column + 1) << 16;
  }
}
inline void load_tiles_transposed(uint32_t (&r)[4], const void* row, SP_SITE) {
  emulator::check_read<16, 16>(row, site);
  const uint64_t* rows =
      emulator::exchange("load_tiles_transposed", reinterpret_cast<uint64_t>(row), site);
  const int column = lane_index() / 4, line = lane_index() % 4 * 2;
  for (int i = 0; i < 4; ++i) {
    r[i] = emulator::element_of_row(rows, 8 * i + line, column) |
           emulator::element_of_row(rows, 8 * i + line + 1, column) << 16;
  }
}

// The sixteen products are summed in double and rounded once: within the freedom that PTX leaves.
template <class T>
inline void multiply_tiles(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], SP_SITE) {
  const uint32_t own[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const emulator::Operands* lanes = emulator::exchange_operands("multiply_tiles", own, site);
  const int row = lane_index() / 4, column = lane_index() % 4 * 2;
  for (int e = 0; e < 4; ++e) {
    double sum = d[e];
    for (int k = 0; k < 16; ++k) {
      const uint32_t* left = lanes[row * 4 + k % 8 / 2];
      const uint32_t* right = lanes[(column + e % 2) * 4 + k % 8 / 2];
      sum += double{emulator::half_of<T>(left[k / 8 * 2 + e / 2], k % 2)} *
             double{emulator::half_of<T>(right[4 + k / 8], k % 2)};
    }
    d[e] = static_cast<float>(sum);
  }
}

}  // namespace surprisal::cuda
