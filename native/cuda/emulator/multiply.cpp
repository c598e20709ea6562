// wgmma: products that run behind the back of their warpgroup, here as late as they may: when a
// wait demands them. Until then the sums of a thread are taken out of its registers, which hold
// NaN.
#include <algorithm>
#include <cstring>
#include <limits>

#include "core/dtype.h"
#include "cuda/emulator/access.h"
#include "cuda/emulator/scheduler.h"
#include "cuda/emulator/tensor.h"

namespace surprisal::cuda::emulator {
namespace {

constexpr int kGroup = 128;

Warpgroup& group_of_current() {
  return current->block->groups[static_cast<size_t>(current->index / kGroup)];
}

struct Descriptor {
  uint32_t begin, next, lines;
};
Descriptor decode(uint64_t bits, Site site) {
  if (bits >> 62 != 1) stop("multiply: only the 128-byte swizzle", site);
  const auto field = [&](int shift) { return static_cast<uint32_t>(bits >> shift & 0x3fff) << 4; };
  return {field(0), field(16), field(32)};
}

// The 16 bytes that hold elements k..k+7 of line mn, or for a transposed operand mn..mn+7 of line
// k.
const uint8_t* chunk(const Block& block, const Descriptor& d, bool transposed, int mn, int k,
                     Site site) {
  const int offset = transposed ? mn / 64 * static_cast<int>(d.next) +
                                      k / 8 * static_cast<int>(d.lines) + k % 8 * 128 + mn % 64 * 2
                                : mn / 8 * static_cast<int>(d.lines) + mn % 8 * 128 + k * 2;
  const uint32_t at = swizzled(d.begin + static_cast<uint32_t>(offset));
  if (at + 16 > block.shared.bytes())
    stop("multiply: the operand ends outside of shared memory", site);
  return block.shared.data() + at;
}

template <class F>
void each_chunk(uint64_t bits, bool transposed, int extent, Site site, F&& f) {
  const Descriptor d = decode(bits, site);
  const Block& block = *current->block;
  for (int mn = 0; mn < extent; mn += transposed ? 8 : 1) {
    for (int k = 0; k < 16; k += transposed ? 1 : 8) {
      f(chunk(block, d, transposed, mn, k, site), mn, k);
    }
  }
}

// to[k * extent + mn]
void read_operand(float* to, uint64_t bits, bool transposed, int extent, bool bfloat, Site site) {
  each_chunk(bits, transposed, extent, site, [&](const uint8_t* from, int mn, int k) {
    check_read<16, 16>(from, site);
    for (int e = 0; e < 8; e++) {
      uint16_t x;
      std::memcpy(&x, from + 2 * e, 2);
      const float value = bfloat ? to_float(BFloat16{x}) : to_float(Float16{x});
      transposed ? to[k * extent + mn + e] = value : to[(k + e) * extent + mn] = value;
    }
  });
}

// Sums are float32; tensor cores round them in ways of their own.
__attribute__((optimize("O3"))) void multiply_now(Product& product) {
  const Operation& op = product.operation;
  const int n = op.columns;
  static thread_local float a[16 * 64], b[16 * 256], c[64 * 256];
  read_operand(a, op.a, op.transposed_a, 64, op.bfloat, product.site);
  read_operand(b, op.b, op.transposed_b, n, op.bfloat, product.site);
  const auto each = [&](auto&& f) {
    for (int t = 0; t < kGroup; t++) {
      for (int i = 0; i < n / 2; i++) {
        const int row = t / 32 * 16 + t % 32 / 4 + i % 4 / 2 * 8;
        const int column = i / 4 * 8 + t % 4 * 2 + i % 2;
        f((*product.sums[t])[static_cast<size_t>(i)], c[row * n + column]);
      }
    }
  };
  each([&](float& sum, float& cell) { cell = op.accumulate ? sum : 0.0f; });
  for (int row = 0; row < 64; row++) {
    for (int k = 0; k < 16; k++) {
      const float x = a[k * 64 + row];
      const float* from = b + k * n;
      float* to = c + row * n;
      for (int j = 0; j < n; j++) to[j] += x * from[j];
    }
  }
  each([&](float& sum, float& cell) { sum = cell; });
  product.done = true;
  for (auto& sums : product.sums) sums.reset();
}

// Takes the sums out of the thread's registers, or finds them where an earlier product left them.
std::shared_ptr<std::vector<float>> take_sums(float* d, int count, size_t number) {
  for (Sums& sums : current->sums) {
    if (sums.registers == d) {
      sums.last = number;
      return sums.values;
    }
  }
  auto values = std::make_shared<std::vector<float>>(d, d + count);
  current->sums.push_back({d, number, values});
  std::fill(d, d + count, std::numeric_limits<float>::quiet_NaN());
  return values;
}

bool same(const Operation& x, const Operation& y) {
  return x.a == y.a && x.b == y.b && x.columns == y.columns && x.accumulate == y.accumulate &&
         x.bfloat == y.bfloat;
}

}  // namespace

void multiply_fence_now() { current->multiply_fenced = true; }

void start_multiply(float* d, const Operation& operation, Site site) {
  require_clusters(site);
  if (!current->multiply_fenced)
    stop("multiply without a multiply_fence since the last wait", site);
  if (launch_of_current().shape.threads / kGroup <= current->index / kGroup) {
    stop("multiply: no whole warpgroup", site);
  }
  Warpgroup& group = group_of_current();
  const size_t number = current->multiplies++;
  while (group.products.size() <= number) {
    group.products.push_back(std::make_shared<Product>());
    group.products.back()->operation = operation;
    group.products.back()->site = site;
    const auto fenced = [&](const uint8_t* p, int, int) { require_fenced(p, 16, site); };
    each_chunk(operation.a, operation.transposed_a, 64, site, fenced);
    each_chunk(operation.b, operation.transposed_b, operation.columns, site, fenced);
  }
  Product& product = *group.products[number];
  if (!same(product.operation, operation)) {
    stop("multiply: the threads of the warpgroup give different operands", site);
  }
  product.sums[current->index % kGroup] = take_sums(d, operation.columns / 2, number);
  if (++product.issued == kGroup) machine().wake(product.waiting);
}

void commit_multiplies() { current->multiply_groups.push_back(current->multiplies); }

void wait_multiplies(int left, Site site) {
  if (machine().shuffles()) machine().yield("multiply_wait", site);
  current->multiply_fenced = false;
  auto& groups = current->multiply_groups;
  if (static_cast<int>(groups.size()) <= left) return;
  const size_t due = groups[groups.size() - 1 - static_cast<size_t>(left)];
  Warpgroup& group = group_of_current();
  for (size_t i = 0; i < due; i++) {
    const std::shared_ptr<Product> product = group.products[i];
    if (!product) continue;
    while (product->issued < kGroup) {
      product->waiting.push_back(current);
      machine().wait("multiply_wait", site);
    }
    if (!product->done) multiply_now(*product);
  }
  groups.erase(groups.begin(), groups.end() - left);
  auto& mine = current->sums;
  for (size_t i = mine.size(); i-- > 0;) {
    if (mine[i].last >= due) continue;
    std::copy(mine[i].values->begin(), mine[i].values->end(), mine[i].registers);
    mine.erase(mine.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace surprisal::cuda::emulator
