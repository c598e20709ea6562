// Tensor cores: tiles and products of a warp, boxes and products of a warpgroup.
#include "cuda/tensor_map.h"
#include "harness.h"

namespace surprisal::cuda::test {
namespace {

// Small integers: their products and sums are exact in every format.
template <class T>
std::vector<T> numbers(int64_t n, int seed) {
  std::vector<T> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; i++) {
    out[static_cast<size_t>(i)] = from_float<T>(static_cast<float>((i * 37 + seed) % 23 % 7 - 3));
  }
  return out;
}

template <class T>
struct Tile {
  const T *a, *b;
  float* d;
  bool transposed;
};
// d = a b for a (16, 16), b (16, 8) stored by columns or, transposed, by rows.
template <class T>
__global__ void tile_kernel(Tile<T> p) {
  struct Memory {
    alignas(16) T a[16][16], b[16 * 8];
  };
  Memory& s = shared<Memory>();
  const int l = lane_index();
  for (int i = l; i < 256; i += 32) store(&s.a[i / 16][i % 16], load(p.a + i));
  for (int i = l; i < 128; i += 32) store(&s.b[i], load(p.b + i));
  sync_warp();
  uint32_t a[4], b[4];
  float d[4] = {};
  load_tiles(a, &s.a[l % 16][l / 16 * 8]);
  if (p.transposed) {
    load_tiles_transposed(b, &s.b[l % 16 * 8]);
  } else {
    load_tiles(b, &s.b[l % 8 * 16 + l / 8 % 2 * 8]);
  }
  const uint32_t columns[2] = {b[0], b[1]};
  multiply_tiles<T>(d, a, columns);
  for (int i = 0; i < 4; i++) store(p.d + (l / 4 + i / 2 * 8) * 8 + l % 4 * 2 + i % 2, d[i]);
}
template <class T>
void check_tiles() {
  const auto a = numbers<T>(256, 1), b = numbers<T>(128, 5);
  const Array<T> left(a), right(b);
  const Array<float> d(128);
  for (const bool transposed : {false, true}) {
    const auto product = [&] {
      for (size_t i = 0; i < 16; i++) {
        for (size_t j = 0; j < 8; j++) {
          float sum = 0;
          for (size_t k = 0; k < 16; k++) {
            sum += to_float(a[i * 16 + k]) * to_float(b[transposed ? k * 8 + j : j * 16 + k]);
          }
          if (d[static_cast<int64_t>(i * 8 + j)] != sum) return false;
        }
      }
      return true;
    };
    EXPECT_FINE(product, tile_kernel<T>, {1, 32, 1024},
                Tile<T>{left.data(), right.data(), d.data(), transposed});
  }
}
TEST(tiles) {
  check_tiles<BFloat16>();
  check_tiles<Float16>();
}

__global__ void store_tiles_kernel(uint32_t* p) {
  uint32_t* s = &shared<uint32_t>();
  const int l = lane_index();
  uint32_t r[4], back[4];
  for (uint32_t i = 0; i < 4; i++) r[i] = static_cast<uint32_t>(l) * 4 + i;
  store_tiles(s + l * 4, r);
  sync_warp();
  load_tiles(back, s + l * 4);
  for (int i = 0; i < 4; i++) store(p + l * 4 + i, back[i]);
  // Row 0 of tile 0 holds the first registers of lanes 0..3.
  if (l == 0) store(p + 128, load(s + 2));
}
TEST(tiles_stored) {
  const Array<uint32_t> p(129);
  EXPECT_FINE([&] { return p[7] == 7 && p[127] == 127 && p[128] == 8; }, store_tiles_kernel,
              {1, 32, 512}, p.data());
}

// --- a product of matrices as warpgroups do it ---------------------------------------------------
// out (n, m) = a (n, k) b (m, k)^T, or with a and b stored (k, n), (k, m). One block 64 x 128 of
// it, a cluster two blocks of neighbouring rows that share b.
enum class Flaw {
  none,
  early_release,
  wrong_wait,
  no_final_wait,
  bytes,
  own_block_only,
  phase,
  no_full_wait,
  step,
  no_cluster_sync,
  no_multiply_fence,
  no_fence
};
struct Gemm {
  TensorMap a, b, out;
  int m, depth;
  Flaw flaw;
};
constexpr int kStages = 3, kCluster = 2, kRows = 64, kColumns = 128, kDepth = 64;
struct Stages {
  alignas(1024) uint16_t a[kStages][kRows * kDepth];
  alignas(1024) uint16_t b[kStages][kColumns * kDepth];
  alignas(1024) uint16_t out[2][kRows * 64];
  Barrier full[kStages], empty[kStages];
};

template <bool kTransposed>
__device__ void produce(Stages& s, const Gemm& p) {
  const int rank = cluster_rank(), row = static_cast<int>(block_index()) * kRows;
  constexpr int kHalf = kColumns / kCluster;
  for (int i = 0; i < (p.depth + kDepth - 1) / kDepth; i++) {
    const int q = i % kStages, k = i * kDepth;
    barrier_wait(&s.empty[q], i / kStages % 2 ^ 1);
    barrier_expect(&s.full[q], (kRows + kColumns) * kDepth * (p.flaw == Flaw::bytes ? 1 : 2));
    uint16_t* half = s.b[q] + rank * kHalf * kDepth;
    if (kTransposed) {
      box_load(s.a[q], &p.a, k, row, &s.full[q]);
      box_load_all(half, &p.b, k, rank * kHalf, &s.full[q], 3);
    } else {
      box_load(s.a[q], &p.a, row, k, &s.full[q]);
      box_load_all(half, &p.b, rank * kHalf, k, &s.full[q], 3);
    }
  }
}

__device__ void release(Stages& s, const Gemm& p, int q) {
  const int t = thread_index() % 128;
  if (t < kCluster) {
    barrier_arrive_at(&s.empty[q], p.flaw == Flaw::own_block_only ? cluster_rank() : t);
  }
}

template <bool kTransposed>
__device__ void consume(Stages& s, const Gemm& p) {
  float d[kColumns / 2];
  int before = -1;
  for (int i = 0; i < (p.depth + kDepth - 1) / kDepth; i++) {
    const int q = i % kStages;
    if (p.flaw != Flaw::no_full_wait) {
      barrier_wait(&s.full[q], i / kStages % 2 ^ (p.flaw == Flaw::phase));
    }
    if (p.flaw != Flaw::no_multiply_fence) multiply_fence();
    for (int k = 0; k < 4; k++) {
      const int further = (kTransposed ? 16 * 128 : 32) / 16;
      const int astray = p.flaw == Flaw::step ? 2 : 1;
      multiply<BFloat16, kColumns, kTransposed, kTransposed>(
          d, operand(s.a[q], kDepth * 128) + static_cast<uint64_t>(k * further),
          operand(s.b[q], kDepth * 128) + static_cast<uint64_t>(k * further * astray), i + k > 0);
    }
    multiply_commit();
    if (before >= 0) {
      if (p.flaw == Flaw::early_release) release(s, p, before);
      p.flaw == Flaw::wrong_wait ? multiply_wait<2>() : multiply_wait<1>();
      if (p.flaw != Flaw::early_release) release(s, p, before);
    }
    before = q;
  }
  if (p.flaw != Flaw::no_final_wait) multiply_wait<0>();
  pin(d);
  release(s, p, before);
  const int t = thread_index() % 128, w = t / 32, l = t % 32;
  for (int j = 0; j < kColumns / 8; j += 2) {
    uint32_t r[4];
    for (int i = 0; i < 4; i++) {
      const float* pair = d + 4 * (j + i / 2) + i % 2 * 2;
      r[i] = to_bfloat16(pair[0]).bits | static_cast<uint32_t>(to_bfloat16(pair[1]).bits) << 16;
    }
    const int line = w * 16 + l % 16, column = j % 8 + l / 16;
    store_tiles(s.out[j / 8] + line * 64 + (column ^ line % 8) * 8, r);
  }
  if (p.flaw != Flaw::no_fence) fence_async();
  sync_group(1, 128);
  if (t == 0) {
    const int row = static_cast<int>(block_index()) * kRows;
    for (int half = 0; half < 2; half++) box_store(&p.out, row, half * 64, s.out[half]);
    bulk_commit();
    bulk_wait_read<0>();
  }
}

template <bool kTransposed>
__global__ void gemm_kernel(Gemm p) {
  Stages& s = shared<Stages>();
  if (thread_index() == 0) {
    for (int q = 0; q < kStages; q++) {
      barrier_init(&s.full[q], 1);
      barrier_init(&s.empty[q], kCluster);
    }
    barrier_init_fence();
  }
  sync_cluster();
  if (thread_index() == 128) {
    produce<kTransposed>(s, p);
  } else if (thread_index() < 128) {
    consume<kTransposed>(s, p);
  }
  if (p.flaw != Flaw::no_cluster_sync) sync_cluster();
}

template <bool kTransposed>
void check_gemm(bool flaws) {
  const int64_t n = 120, m = 104, depth = 344;  // ragged in all directions
  const auto a = numbers<BFloat16>(n * depth, 3), b = numbers<BFloat16>(m * depth, 8);
  const Array<BFloat16> left(a), right(b), out(n * m);
  const auto at = [&](const std::vector<BFloat16>& x, int64_t i, int64_t k, int64_t extent) {
    return to_float(x[static_cast<size_t>(kTransposed ? k * extent + i : i * depth + k)]);
  };
  std::vector<BFloat16> expected(static_cast<size_t>(n * m));
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = 0; j < m; j++) {
      float sum = 0;
      for (int64_t k = 0; k < depth; k++) sum += at(a, i, k, n) * at(b, j, k, m);
      expected[static_cast<size_t>(i * m + j)] = to_bfloat16(sum);
    }
  }
  const auto right_now = [&] {
    for (int64_t i = 0; i < n * m; i++) {
      if (out[i].bits != expected[static_cast<size_t>(i)].bits) return false;
    }
    return true;
  };
  Gemm p{};
  constexpr int kHalf = kColumns / kCluster;
  const auto map = [](const Array<BFloat16>& x, int64_t rows, int64_t columns, int box) {
    return tensor_map(x.data(), DType::bf16, rows, columns, columns, box);
  };
  p.a = kTransposed ? map(left, depth, n, kDepth) : map(left, n, depth, kRows);
  p.b = kTransposed ? map(right, depth, m, kDepth) : map(right, m, depth, kHalf);
  p.out = map(out, n, m, kRows);
  p.m = static_cast<int>(m);
  p.depth = static_cast<int>(depth);
  const Shape shape{2, 256, sizeof(Stages), kCluster};
  EXPECT_FINE(right_now, gemm_kernel<kTransposed>, shape, p);
  if (!flaws) return;
  for (int flaw = 1; flaw <= static_cast<int>(Flaw::no_fence); flaw++) {
    p.flaw = static_cast<Flaw>(flaw);
    int caught = 0;
    for (uint64_t seed = 0; seed < 6; seed++) {
      Array<BFloat16> fresh(n * m);
      p.out = map(fresh, n, m, kRows);
      bool same = run(seed, gemm_kernel<kTransposed>, shape, p).empty();
      for (int64_t i = 0; same && i < n * m; i++) {
        same = fresh[i].bits == expected[static_cast<size_t>(i)].bits;
      }
      caught += !same;
    }
    if (caught == 0) fail(__FILE__, __LINE__, "flaw " + std::to_string(flaw) + " not found");
  }
}
TEST(product_by_warpgroups) { check_gemm<false>(true); }
TEST(product_by_warpgroups_transposed) { check_gemm<true>(false); }

}  // namespace
}  // namespace surprisal::cuda::test
