// Bounds, alignment, uninitialised and freed memory.
#include "harness.h"

namespace surprisal::cuda::test {
namespace {

struct Parameters {
  const float* x;
  float* y;
  int64_t at;
};
using Four = Pack<float, 4>;

__global__ void read_kernel(Parameters p) { store(p.y, load(p.x + p.at)); }
__global__ void write_kernel(Parameters p) { store(p.y + p.at, 1.0f); }
__global__ void pack_kernel(Parameters p) {
  store_once(reinterpret_cast<Four*>(p.y), load_once(reinterpret_cast<const Four*>(p.x + p.at)));
}
__global__ void shared_kernel(Parameters p) {
  float* s = &shared<float>();
  if (p.at < 0) store(s, load(s + 1));
  store(s + p.at, 1.0f);
}

TEST(bounds) {
  const Array<float> x(std::vector<float>(100, 1.0f)), y(100);
  for (const int64_t at : {-1, 100, 101}) {
    EXPECT_REFUSED("out-of-bounds read of 4 bytes", read_kernel, {1, 1},
                   Parameters{x.data(), y.data(), at});
    EXPECT_REFUSED("out-of-bounds write of 4 bytes", write_kernel, {1, 1},
                   Parameters{x.data(), y.data(), at});
  }
  EXPECT(run(0, read_kernel, {1, 1}, Parameters{x.data(), y.data(), 100})
             .find("offset 400 of an allocation of 400 bytes; in block 0, thread 0") !=
         std::string::npos);
  EXPECT_REFUSED("out-of-bounds read of 16 bytes", pack_kernel, {1, 1},
                 Parameters{x.data(), y.data(), 100});
  EXPECT_REFUSED("misaligned read of 16 bytes", pack_kernel, {1, 1},
                 Parameters{x.data(), y.data(), 1});
  EXPECT_FINE(nullptr, pack_kernel, {1, 1}, Parameters{x.data(), y.data(), 96});
  EXPECT_REFUSED("out-of-bounds write", shared_kernel, {1, 1, 64},
                 Parameters{nullptr, nullptr, 16});
  EXPECT_FINE(nullptr, shared_kernel, {1, 1, 64}, Parameters{nullptr, nullptr, 15});
  float host = 0;
  EXPECT_REFUSED("which is no device memory", write_kernel, {1, 1}, Parameters{nullptr, &host, 0});
  EXPECT_REFUSED("which is no device memory", read_kernel, {1, 1},
                 Parameters{nullptr, y.data(), 0});
}

TEST(uninitialised) {
  Array<float> x(100), y(100);
  const Parameters p{x.data(), y.data(), 4};
  EXPECT_REFUSED("uninitialised read of 4 bytes at offset 16", read_kernel, {1, 1}, p);
  EXPECT_REFUSED("uninitialised read of 16 bytes", pack_kernel, {1, 1}, p);
  EXPECT(run(0, write_kernel, {1, 1}, Parameters{nullptr, x.data(), 4}).empty());
  EXPECT_FINE([&] { return y[0] == 1; }, read_kernel, {1, 1}, p);
  x.forget();
  EXPECT_REFUSED("uninitialised read", read_kernel, {1, 1}, p);
  EXPECT_REFUSED("uninitialised read of 4 bytes at offset 4 of the shared memory of 64 bytes",
                 shared_kernel, {1, 1, 64}, Parameters{nullptr, nullptr, -1});
}

TEST(freed) {
  float* x = static_cast<float*>(emulator::allocate(400));
  emulator::mark_initialised(x, 400);
  const Array<float> y(4);
  EXPECT_FINE(nullptr, read_kernel, {1, 1}, Parameters{x, y.data(), 3});
  emulator::release(x);
  EXPECT_REFUSED("of a freed allocation", read_kernel, {1, 1}, Parameters{x, y.data(), 3});
  EXPECT_REFUSED("of a freed allocation", write_kernel, {1, 1}, Parameters{nullptr, x, 3});
}

// Neighbouring bytes are not one place.
__global__ void bytes_kernel(uint8_t* p) {
  const int64_t i = block_index() * block_size() + thread_index();
  store(p + i, static_cast<uint8_t>(i));
  store(p + i, static_cast<uint8_t>(load(p + i) + 1));
}
__global__ void same_kernel(uint8_t* p) { store(p + thread_index() / 2, uint8_t{1}); }
TEST(races_in_global_memory) {
  Array<uint8_t> p(256);
  EXPECT_FINE([&] { return p[77] == 78; }, bytes_kernel, {4, 64}, p.data());
  EXPECT_REFUSED("race: write", same_kernel, {1, 64}, p.data());
  EXPECT_REFUSED("race: write", same_kernel, {2, 1}, p.data());
}

TEST(launch_shapes) {
  Array<uint8_t> p(4096);
  EXPECT(!run(0, bytes_kernel, {1, 1025}, p.data()).empty());
  EXPECT(!run(0, bytes_kernel, {1, 32, 228 << 10}, p.data()).empty());
  EXPECT(!run(0, bytes_kernel, {3, 32, 0, 2}, p.data()).empty());
  EXPECT(run(0, bytes_kernel, {0, 32}, p.data()).empty());
}

}  // namespace
}  // namespace surprisal::cuda::test
