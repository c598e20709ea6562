#include "cuda/emulator/matrix.h"

#include <cstring>

#include "core/dtype.h"
#include "cuda/emulator/access.h"

namespace surprisal::cuda::emulator {
namespace {

struct Tiles {
  uint32_t* r;
  const void* row;
};

const Tiles& tiles(void* lane) { return *static_cast<const Tiles*>(lane); }

// Element (i, j) of tile t lies at j of the row whose address lane 8 t + i gave.
uint16_t element(void* const (&lanes)[32], int t, int i, int j) {
  uint16_t x;
  std::memcpy(&x, static_cast<const uint8_t*>(tiles(lanes[8 * t + i]).row) + 2 * j, 2);
  return x;
}

// Lane l gets elements (l / 4, l % 4 * 2 + {0, 1}) of each tile, or of its transpose.
template <bool kTransposed>
void load_all(void* const (&lanes)[32]) {
  for (int l = 0; l < 32; l++) {
    for (int t = 0; t < 4; t++) {
      const int i = l / 4, j = l % 4 * 2;
      const uint32_t low = kTransposed ? element(lanes, t, j, i) : element(lanes, t, i, j);
      const uint32_t high = kTransposed ? element(lanes, t, j + 1, i) : element(lanes, t, i, j + 1);
      tiles(lanes[l]).r[t] = low | high << 16;
    }
  }
}

void store_all(void* const (&lanes)[32]) {
  for (int l = 0; l < 32; l++) {
    for (int t = 0; t < 4; t++) {
      const void* row = tiles(lanes[8 * t + l / 4]).row;
      std::memcpy(static_cast<uint8_t*>(const_cast<void*>(row)) + l % 4 * 4, &tiles(lanes[l]).r[t],
                  4);
    }
  }
}

struct TileProduct {
  float* d;
  const uint32_t *a, *b;
};

template <bool kBFloat>
float half_of(uint32_t pair, int which) {
  const auto bits = static_cast<uint16_t>(pair >> (16 * which));
  if constexpr (kBFloat) {
    return to_float(BFloat16{bits});
  } else {
    return to_float(Float16{bits});
  }
}

// The sixteen products are summed in double and rounded once: within the freedom that PTX leaves.
template <bool kBFloat>
void multiply_all(void* const (&lanes)[32]) {
  float a[16][16], b[16][8];
  for (int l = 0; l < 32; l++) {
    const auto& p = *static_cast<const TileProduct*>(lanes[l]);
    const int row = l / 4, column = l % 4 * 2;
    for (int e = 0; e < 2; e++) {
      for (int h = 0; h < 4; h++)
        a[row + h % 2 * 8][column + h / 2 * 8 + e] = half_of<kBFloat>(p.a[h], e);
      for (int h = 0; h < 2; h++) b[column + h * 8 + e][row] = half_of<kBFloat>(p.b[h], e);
    }
  }
  for (int l = 0; l < 32; l++) {
    const auto& p = *static_cast<const TileProduct*>(lanes[l]);
    for (int i = 0; i < 4; i++) {
      const int row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
      double sum = p.d[i];
      for (int k = 0; k < 16; k++) sum += double{a[row][k]} * double{b[k][column]};
      p.d[i] = static_cast<float>(sum);
    }
  }
}

}  // namespace

void load_matrix(uint32_t (&r)[4], const void* row, bool transposed, Site site) {
  check_read<16, 16>(row, site);
  Tiles mine{r, row};
  transposed ? together("load_tiles_transposed", &mine, load_all<true>, site)
             : together("load_tiles", &mine, load_all<false>, site);
}

void store_matrix(void* row, const uint32_t (&r)[4], Site site) {
  check_write<16, 16>(row, site);
  uint32_t copy[4] = {r[0], r[1], r[2], r[3]};
  Tiles mine{copy, row};
  together("store_tiles", &mine, store_all, site);
}

void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bool bfloat,
                      Site site) {
  TileProduct mine{d, a, b};
  bfloat ? together("multiply_tiles", &mine, multiply_all<true>, site)
         : together("multiply_tiles", &mine, multiply_all<false>, site);
}

}  // namespace surprisal::cuda::emulator
