// The emulated multiprocessors of one host thread: clusters of blocks of warps of threads, each
// thread a fiber that runs until it must wait, and a scheduler that picks who goes on. Seed 0 picks
// in order; other seeds shuffle threads and blocks, freeze groups of threads for a while, and let
// asynchronous work complete at random times.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuda/emulator/async.h"
#include "cuda/emulator/memory.h"
#include "cuda/emulator/race.h"
#include "cuda/runtime.h"

namespace surprisal::cuda::emulator {

class Fiber;
struct Block;
struct Cluster;

// Runs one launch to its end. Throws Error (internal) on: deadlock, barriers that diverge, accesses
// that are out of bounds, misaligned, uninitialised or of freed memory, over-arrival.
void run(const void* kernel, const Shape& shape, void** arguments,
         void (*emulate)(const void* kernel, void** arguments), uint64_t seed);

// What device the machine is: 90, or 80 with SURPRISAL_EMULATOR_ARCH=80.
int arch();
// Its multiprocessors: those of an H100 or A100, or SURPRISAL_EMULATOR_PROCESSORS: few make small
// problems take the kernels of large ones.
int processors();
// The base of the seeds of launches (SURPRISAL_EMULATOR_SEED), 0 unless set.
uint64_t base_seed();

// --- parts ---------------------------------------------------------------------------------------
// The sums of products in the background, taken out of a thread's registers.
struct Sums {
  float* registers;
  size_t last;  // product that adds to them
  std::shared_ptr<std::vector<float>> values;
};

struct Thread {
  Block* block = nullptr;
  int index = 0;
  Fiber* fiber = nullptr;  // null before it runs and after it ends
  bool finished = false;
  const char* waits_for = nullptr;  // for the report of a deadlock
  Site site{};
  Actor actor{};
  uint32_t fenced = 0;  // time of its last fence_async
  Groups bulk, copies;
  size_t multiplies = 0;                // started
  std::vector<size_t> multiply_groups;  // how many had been at each commit
  std::vector<Sums> sums;
  bool multiply_fenced = false;
};

// Threads that wait until `expected` of them are there.
struct Rendezvous {
  std::vector<Thread*> waiting;
  int expected = 0;
  Site site{};
};

// One exchange between the lanes of a warp. Lanes can be one exchange ahead of each other at most:
// two sets of values are enough.
struct Warp {
  std::vector<Thread*> waiting;
  uint32_t exchange = 0;  // how many are done
  const char* kind = nullptr;
  uint64_t value[2][32];
  void* given[32];
  int lanes = 32, finished = 0;
};

// One wgmma instruction (multiply.cpp); what the 128 threads of a warpgroup start is its products.
struct Product;
struct Warpgroup {
  std::vector<std::shared_ptr<Product>> products;
};

constexpr int kNamedBarriers = 16;

struct Launch;

struct Block {
  const Launch* launch = nullptr;
  Cluster* cluster = nullptr;
  int64_t index = 0;
  int rank = 0;  // in the cluster
  int finished = 0;
  Window shared;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  Rendezvous barriers[kNamedBarriers];
  std::vector<Mbarrier> mbarriers;
  std::vector<Warpgroup> groups;
};

struct Cluster {
  bool resident = false;
  int finished = 0;  // threads
  Rendezvous barrier;
  std::vector<std::unique_ptr<Block>> blocks;
};

// --- for the intrinsics --------------------------------------------------------------------------
extern __thread Thread* current __attribute__((visibility("hidden")));

struct Launch {
  const void* kernel;
  Shape shape;
  void** arguments;
  void (*emulate)(const void*, void**);
  uint64_t seed;
};
inline const Launch& launch_of_current() { return *current->block->launch; }

// Ends the launch with an error that says where.
[[noreturn]] void stop(const std::string& what, Site site);
// Lets others run; returns at once or much later.
void yield(const char* waits_for, Site site);

void sync_lanes(Site site);
void sync_block(Site site);
void sync_named(int id, int threads, Site site);
void sync_cluster_blocks(Site site);
// Every lane gives a value and gets that of all 32.
const uint64_t* exchange(const char* kind, uint64_t value, Site site);
// Every lane gives something of its own; when all have, `all` runs once.
void together(const char* kind, void* mine, void (*all)(void* const (&lanes)[32]), Site site);
// The same place in the shared memory of another block of the cluster.
const void* in_block(const void* p, int rank, Site site);
void require_clusters(Site site);  // an error on a machine of arch 80

}  // namespace surprisal::cuda::emulator
