#include "cuda/emulator/tensor.h"

#include <cstring>

#include "core/check.h"
#include "cuda/emulator/access.h"
#include "cuda/emulator/mbarrier.h"
#include "cuda/emulator/scheduler.h"

namespace surprisal::cuda {
namespace {

constexpr int kLine = 64;  // elements
constexpr uint64_t kMark = 0x50414d524f534e54;

// What the words of a map mean here.
struct Matrix {
  uint64_t mark;
  const uint8_t* data;
  int64_t rows, columns, pitch, box_rows;
};

}  // namespace

TensorMap tensor_map(const void* data, DType dtype, int64_t rows, int64_t columns, int64_t pitch,
                     int box_rows) {
  require(dtype == DType::bf16 || dtype == DType::f16, "tensor_map: a 16-bit float");
  require(reinterpret_cast<uintptr_t>(data) % 16 == 0 && pitch % 8 == 0,
          "tensor_map: rows begin at multiples of 16 bytes");
  require(rows > 0 && columns > 0 && box_rows > 0 && box_rows <= 256, "tensor_map: sizes");
  const Matrix matrix{kMark, static_cast<const uint8_t*>(data), rows, columns, pitch, box_rows};
  TensorMap out{};
  std::memcpy(&out, &matrix, sizeof matrix);
  return out;
}

namespace emulator {
namespace {

Matrix matrix_of(const TensorMap* map, Site site) {
  require_clusters(site);
  Matrix matrix;
  std::memcpy(&matrix, map, sizeof matrix);
  if (matrix.mark != kMark || reinterpret_cast<uintptr_t>(map) % 64) {
    stop("no tensor map at the address given", site);
  }
  return matrix;
}

uint32_t offset_in_shared(const void* p, Site site) {
  const Window& window = current->block->shared;
  const auto offset = static_cast<const uint8_t*>(p) - window.data();
  if (offset < 0 || offset >= window.bytes()) {
    stop("the address is not in the shared memory of the block: " + describe(p), site);
  }
  if (offset % 1024) stop("misaligned box: shared memory must be a multiple of 1024", site);
  return static_cast<uint32_t>(offset);
}

// Calls f(shared offset, global address or null, bytes) for every stretch of a box.
template <class F>
void each_stretch(const Matrix& m, uint32_t offset, int row, int column, F&& f) {
  for (int r = 0; r < m.box_rows; r++) {
    for (int c = 0; c < kLine; c += 8) {
      const uint32_t at = swizzled(offset + static_cast<uint32_t>(r * 128 + c * 2));
      const int64_t y = int64_t{row} + r;
      for (int e = 0; e < 8;) {
        const auto inside = [&](int i) {
          const int64_t x = int64_t{column} + c + i;
          return y >= 0 && y < m.rows && x >= 0 && x < m.columns;
        };
        int end = e + 1;
        while (end < 8 && inside(end) == inside(e)) end++;
        const uint8_t* global = inside(e) ? m.data + (y * m.pitch + column + c + e) * 2 : nullptr;
        f(at + static_cast<uint32_t>(e * 2), global, static_cast<uint32_t>((end - e) * 2));
        e = end;
      }
    }
  }
}

}  // namespace

void start_box_load(void* to, const TensorMap* map, int row, int column, uint64_t* barrier,
                    uint32_t blocks, Site site) {
  const Matrix matrix = matrix_of(map, site);
  const uint32_t offset = offset_in_shared(to, site);
  const Block& own = *current->block;
  const auto barrier_at = reinterpret_cast<uint8_t*>(barrier) - own.shared.data();
  if (blocks == 0) blocks = 1u << own.rank;
  if (blocks >> launch_of_current().shape.cluster) stop("box_load_all: no such block", site);
  CopyPointer copy = make_copy(site);
  for (int rank = 0; blocks >> rank; rank++) {
    if (!(blocks >> rank & 1)) continue;
    in_block(to, rank, site);
    Block& block = *own.cluster->blocks[static_cast<size_t>(rank)];
    each_stretch(matrix, offset, row, column,
                 [&](uint32_t at, const uint8_t* global, uint32_t bytes) {
                   copy->pieces.push_back({global, block.shared.data() + at, bytes});
                 });
    auto* signal = reinterpret_cast<uint64_t*>(block.shared.data() + barrier_at);
    require_ready_for_engine(block, signal, site);
    copy->signals.push_back({&block, signal, static_cast<int>(matrix.box_rows) * kLine * 2});
  }
  machine().engine().start(std::move(copy));
}

void start_box_store(const TensorMap* map, int row, int column, const void* from, Site site) {
  const Matrix matrix = matrix_of(map, site);
  const uint32_t offset = offset_in_shared(from, site);
  const uint8_t* shared = current->block->shared.data();
  CopyPointer copy = make_copy(site);
  copy->from_shared = true;
  each_stretch(matrix, offset, row, column,
               [&](uint32_t at, const uint8_t* global, uint32_t bytes) {
                 if (!global) return;
                 require_fenced(shared + at, bytes, site);
                 copy->pieces.push_back({shared + at, const_cast<uint8_t*>(global), bytes});
               });
  current->bulk.open.push_back(copy);
  machine().engine().start(std::move(copy));
}

}  // namespace emulator
}  // namespace surprisal::cuda
