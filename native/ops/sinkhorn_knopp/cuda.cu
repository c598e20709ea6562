// Sinkhorn-Knopp on a device (op.h). An iteration multiplies a matrix by two vectors; it is read
// once and written once: 2 N M elements of memory, in backward 3, the floor while K fits on chip.
// There up to 4 x 4, T = 20 take 2 T N M fused multiply-adds and T (N + M) divisions, about as long
// as the memory does. Larger matrices than all shared memory are read 2 T times from L2 or memory.
//   up to 4 x 4          a thread, in registers (lanes_device.h)
//   up to 32 x 32        8 to 32 lanes, several in a block (teams_device.h)
//   larger               a block, from 65536 elements as many blocks together as hold it
// In float32 (float64 for float64); those that range too widely are listed on the device, and
// further launches, which find empty lists elsewhere, take them in double, then by logarithms. All
// use the same scratch memory in turn.
#include "ops/sinkhorn_knopp/lanes_device.h"
#include "ops/sinkhorn_knopp/logs_device.h"
#include "ops/sinkhorn_knopp/refusals.h"
#include "ops/sinkhorn_knopp/teams_device.h"

namespace surprisal::sinkhorn_knopp {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

double value_of(const Fault& f) {
  double x;
  std::memcpy(&x, &f.value, sizeof x);
  return x;
}
void raise_rows(const Fault& f) { refuse_sum("rows", value_of(f), f.row); }
void raise_columns(const Fault& f) { refuse_sum("columns", value_of(f), f.row); }
void raise_entry(const Fault& f) { refuse_entry(value_of(f), f.row); }

__global__ void __launch_bounds__(kThreads)
    sinkhorn_knopp_check_kernel(Numbers sums, int64_t count, FaultSite site) {
  const int64_t i = block_index() * kThreads + thread_index();
  if (i >= count) return;
  const double x = sums[i];
  if (!(x >= 0 && x <= std::numeric_limits<double>::max()))
    report_fault(site, i, bits_of_double(x), 0, 0);
}

void check_sums(const View& sums, int64_t batch, int64_t count, void (*raise)(const Fault&),
                Stream& stream) {
  if (!sums) return;
  require(sums.size == count || sums.size == batch * count, "sinkhornKnopp: size of sums");
  const FaultSite site = stream.fault_site(raise);
  launch(stream, sinkhorn_knopp_check_kernel, {divided_up(sums.size, kThreads), kThreads},
         Numbers(sums), sums.size, site);
}

Rest make_rest(int64_t batch, Stream& stream) {
  Rest rest{stream.scratch<int64_t>(batch), stream.scratch<uint32_t>(1)};
  stream.fill_bytes(rest.listed, 0, sizeof(uint32_t));
  return rest;
}

// Memory that every stage takes anew from its beginning, since they run one after the other.
struct Room {
  unsigned char* at;

  template <class T>
  T* take(int64_t n) {
    T* const to = reinterpret_cast<T*>(at);
    at += aligned(n * int64_t{sizeof(T)});
    return to;
  }
  uint32_t* counters(int64_t n, Stream& stream) {
    auto* const to = take<uint32_t>(n);
    stream.fill_bytes(to, 0, n * int64_t{sizeof(uint32_t)});
    return to;
  }
};

template <class C, bool kGradient>
void run_teams(const Work& problem, Sizes sizes, Room room, Stream& stream) {
  sizes.element = sizeof(C);
  TeamWork work;
  static_cast<Work&>(work) = problem;
  work.plan = plan_teams(sizes);
  const Teams& plan = work.plan;
  work.counters = room.counters(plan.count, stream);
  work.extents = room.take<C>(plan.count * plan.blocks * 3);
  work.scratch = room.take<C>(plan.count * plan.numbers);
  work.kept = kept_numbers(sizes);
  const int64_t blocks = plan.count * plan.blocks / (plan.threads / plan.each);
  launch(stream, sinkhorn_knopp_teams_kernel<C, kGradient>,
         {blocks, plan.threads, plan.shared, 1, plan.blocks > 1}, work);
}

template <bool kGradient>
void run_logs(const Work& problem, const Sizes& sizes, Room room, Stream& stream) {
  LogWork work;
  static_cast<Work&>(work) = problem;
  const Logs plan = work.plan = plan_logs(sizes);
  work.counters = room.counters(plan.count, stream);
  work.scratch = room.take<double>(plan.count * plan.numbers);
  launch(stream, sinkhorn_knopp_logs_kernel,
         {plan.blocks, kLogThreads, kLogThreads * int64_t{sizeof(LogSum)}, 1, plan.together}, work);
}

template <class C, bool kGradient>
void run_all(const Work& work, const Sizes& sizes, Room room, Stream& stream) {
  if (!in_lanes(sizes)) return run_teams<C, kGradient>(work, sizes, room, stream);
  launch(stream, sinkhorn_knopp_lanes_kernel<C, kGradient>,
         {divided_up(sizes.batch, kLaneThreads), kLaneThreads, lane_bytes(sizes)}, work);
}

template <bool kGradient>
void run(Work work, Sizes sizes, Stream& stream) {
  const bool wide = work.dtype == DType::f64;
  sizes.gradient = kGradient;
  sizes.element = wide ? sizeof(double) : sizeof(float);
  const Room room{stream.scratch<unsigned char>(scratch_of_all(sizes))};
  work.rest = make_rest(sizes.batch, stream);
  const auto go_on = [&] {
    work.matrices.list = work.rest.list;
    work.matrices.listed = work.rest.listed;
  };
  if (!wide) {
    run_all<float, kGradient>(work, sizes, room, stream);
    go_on();
    work.rest = make_rest(sizes.batch, stream);
    run_teams<double, kGradient>(work, sizes, room, stream);
  } else {
    run_all<double, kGradient>(work, sizes, room, stream);
  }
  go_on();
  run_logs<kGradient>(work, sizes, room, stream);
}

void prepare(const Problem& op, const View* upstream, const View& to, Stream& stream) {
  require(op.x.size == op.batch * op.n * op.m, "sinkhornKnopp: size of x");
  require(to.size == op.x.size && to.dtype == op.x.dtype, "sinkhornKnopp: out");
  check_sums(op.rows, op.batch, op.n, raise_rows, stream);
  check_sums(op.columns, op.batch, op.m, raise_columns, stream);
  if (op.x.size == 0) return;
  require(op.n <= INT32_MAX && op.m <= INT32_MAX, "sinkhornKnopp: more than 2^31 rows or columns");
  Work work;
  work.x = op.x.data;
  work.to = to.data;
  work.dtype = op.x.dtype;
  work.rows = op.rows;
  work.columns = op.columns;
  work.own_rows = op.rows && op.rows.size != op.n;
  work.own_columns = op.columns && op.columns.size != op.m;
  work.n = op.n;
  work.m = op.m;
  work.iterations = op.iterations;
  work.temperature = op.temperature;
  work.matrix = op.matrix;
  work.columns_first = op.columns_first;
  work.packed = op.n == kLaneSide && op.m == kLaneSide && is_aligned(op.x.data) &&
                is_aligned(to.data) && (!upstream || is_aligned(upstream->data));
  work.negative = stream.fault_site(raise_entry);
  work.matrices.batch = op.batch;
  Sizes sizes;
  sizes.batch = op.batch;
  sizes.n = op.n;
  sizes.m = op.m;
  sizes.iterations = op.iterations;
  sizes.processors = stream.properties().processors;
  sizes.shared = stream.properties().shared;
  if (!upstream) return run<false>(work, sizes, stream);
  require(upstream->size == op.x.size, "sinkhornKnopp: gradients");
  work.upstream = upstream->data;
  work.upstream_dtype = upstream->dtype;
  run<true>(work, sizes, stream);
}

}  // namespace

void forward_cuda(const Forward& op, Stream& stream) { prepare(op, nullptr, op.out, stream); }

void backward_cuda(const Backward& op, Stream& stream) {
  prepare(op, &op.upstream, op.grad, stream);
}

}  // namespace surprisal::sinkhorn_knopp
