// Transport on lines on a device (op.h). Of every line both sides are projected, sorted and merged,
// and its slopes and potentials go back to the points; as many lines at a time as kScratch holds.
// A line of N + M points takes 2 D (N + M) fused multiply-adds to project, and as many back; about
// 60 (N + M) bytes of memory beside those of sorting: 32 (N + M) for each merge of sorted tiles.
//   points to lines and back   a thread a point and 8 lines, or features (points_device.h)
//   up to 2048 points          sorted by a block in shared memory (sort_device.h)
//   more                       tiles of as many, merged by log2(N / 2048) launches
//   plan, slopes, potentials   a block a line (lines_device.h)
// One point that shares mass with very many, or as many equal coordinates, keep one thread (one
// warp where a side has 16 times as many points) busy for long.
#include <algorithm>
#include <numeric>

#include "core/measures.h"
#include "ops/emd1d/lines_device.h"
#include "ops/emd1d/points_device.h"
#include "ops/emd1d/sort_device.h"

namespace surprisal::emd1d {
namespace {

using cuda::Fault;
using cuda::launch;
using cuda::Stream;

double double_of(int64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
const char* name_of(int64_t sliced) { return sliced & 1 ? "slicedWasserstein" : "emd1d"; }

template <bool kSecond>
void raise_point(const Fault& f) {
  refuse_point(name_of(f.a), kSecond ? "y" : "x", double_of(f.value), f.row);
}
void raise_direction(const Fault& f) {
  refuse_point(name_of(f.a), "directions", double_of(f.value), f.row);
}
template <bool kSecond>
void raise_weight(const Fault& f) {
  refuse_weight(name_of(f.a), kSecond ? "b" : "a", double_of(f.value), f.row);
}
template <bool kSecond>
void raise_none(const Fault& f) {
  refuse_no_mass(name_of(f.a), kSecond ? "b" : "a", f.b);
}
void raise_masses(const Fault& f) {
  refuse_masses(name_of(f.b), double_of(f.value), double_of(f.a), nullptr, f.b & 2 ? -1 : f.row);
}

// In the order in which the CPU looks.
Faults faults_of(Stream& stream) {
  Faults f;
  f.points[0] = stream.fault_site(raise_point<false>);
  f.points[1] = stream.fault_site(raise_point<true>);
  f.directions = stream.fault_site(raise_direction);
  f.weight[0] = stream.fault_site(raise_weight<false>);
  f.none[0] = stream.fault_site(raise_none<false>);
  f.weight[1] = stream.fault_site(raise_weight<true>);
  f.none[1] = stream.fault_site(raise_none<true>);
  f.masses = stream.fault_site(raise_masses);
  return f;
}

constexpr int64_t kTotals = kThreads / cuda::kWarp * int64_t{sizeof(double)};

// `count` problems from `first` on.
Transport part_of(Transport op, int64_t first, int64_t count) {
  const auto cut = [&](View* view, int64_t each) {
    if (!*view) return;
    view->data = static_cast<char*>(view->data) + first * each * size_of(view->dtype);
    view->size = count * each;
  };
  for (View* view : {&op.x, &op.dx}) cut(view, op.n * op.width);
  for (View* view : {&op.y, &op.dy}) cut(view, op.m * op.width);
  for (View* view : {&op.a, &op.da}) cut(view, op.n);
  for (View* view : {&op.b, &op.db}) cut(view, op.m);
  cut(&op.value, 1);
  op.batch = count;
  return op;
}

template <class A>
class Run {
 public:
  Run(const Transport& op, Stream& stream) : op_(op), stream_(stream) {
    Sizes sizes;
    sizes.batch = op.batch;
    sizes.n = op.n;
    sizes.m = op.m;
    sizes.projections = op.projections;
    sizes.width = op.width;
    sizes.element = sizeof(A);
    if (op.workspace > 0) sizes.scratch = op.workspace;
    share_ = plan_share(sizes);
    job_.width = op.width;
    job_.projections = op.projections;
    job_.p = op.p;
    job_.points = op.dx || op.dy;
    job_.weights = op.da || op.db;
    if (op.directions) job_.directions = op.directions.as<A>();
    make_side(&job_.x, op.n, op.dx, op.da);
    make_side(&job_.y, op.m, op.dy, op.db);
    job_.mass = stream.scratch<double>(share_.problems);
    job_.value = stream.scratch<double>(share_.problems * share_.lines);
    job_.total = stream.scratch<double>(share_.problems);
    if (op.directions) centre_ = stream.scratch<double>(share_.problems * op.width);
    job_.centre = centre_;
    make_measure();
  }

  void solve() {
    check(op_.x, measure_.faults.points[0]);
    check(op_.y, measure_.faults.points[1]);
    if (op_.directions) check(op_.directions, measure_.faults.directions);
    for (int64_t first = 0; first < op_.batch; first += share_.problems) {
      take(first, std::min(share_.problems, op_.batch - first));
      solve_part();
    }
  }

 private:
  static cuda::Shape over(int64_t items) { return {divided_up(items, kThreads), kThreads}; }

  void solve_part() {
    for (job_.first = 0; job_.first < op_.projections; job_.first += job_.lines) {
      job_.lines = std::min(share_.lines, op_.projections - job_.first);
      for (const bool second : {false, true}) {
        const DeviceSide<A>& side = second ? job_.y : job_.x;
        const int64_t parts = divided_up(job_.lines, kProjected);
        launch(stream_, emd1d_project_kernel<A>, over(job_.batch * side.n * parts), job_, second);
        sort(side);
      }
      launch(stream_, emd1d_line_kernel<A>,
             {job_.batch * job_.lines, threads_of_line(op_.n, op_.m), sizeof(LineMemory)}, job_);
      launch(stream_, emd1d_value_kernel<A>, over(job_.batch), job_);
      for (const bool second : {false, true}) gather(second);
    }
    for (const bool second : {false, true})
      if ((second ? job_.y : job_.x).to_weights)
        launch(stream_, emd1d_weights_kernel<A>, {job_.batch, kThreads, kTotals}, job_, second);
  }

  // What the problems in work, one after the other, have in common.
  void make_side(DeviceSide<A>* side, int64_t n, const View& dpoints, const View& dweights) {
    const int64_t all = share_.problems * n, lines = all * share_.lines;
    side->n = n;
    side->weight = stream_.scratch<double>(all);
    side->along = stream_.scratch<A>(lines);
    side->at = stream_.scratch<A>(lines);
    side->order = stream_.scratch<int32_t>(lines);
    side->sum = stream_.scratch<double>(lines);
    if (job_.points) side->raw = stream_.scratch<double>(lines);
    if (dpoints) side->slope = stream_.scratch<A>(lines);
    if (!dweights) return;
    side->potential = stream_.scratch<double>(lines);
    side->dweights = stream_.scratch<double>(all);
  }
  void make_measure() {
    measure_.faults = faults_of(stream_);
    measure_.count[0] = op_.n;
    measure_.count[1] = op_.m;
    measure_.weight[0] = job_.x.weight;
    measure_.weight[1] = job_.y.weight;
    // Whole numbers, whose sums meet exactly.
    const int64_t common = std::gcd(op_.n, op_.m);
    measure_.uniform[0] = static_cast<double>(op_.m / common);
    measure_.uniform[1] = static_cast<double>(op_.n / common);
    if (!op_.a && !op_.b) job_.scale = 1 / (static_cast<double>(op_.n) * measure_.uniform[0]);
    measure_.mass = job_.mass;
    measure_.allowed = allowed_difference(op_.a, op_.b);
    measure_.batch = op_.batch;
    measure_.sliced = op_.directions ? 1 : 0;
  }

  static void take_side(DeviceSide<A>* side, const View& points, const View& dpoints,
                        const View& dweights) {
    side->points = points;
    side->dpoints = dpoints.as<A>();
    side->to_weights = dweights.as<A>();
  }
  // The problems in work, their weights and centres.
  void take(int64_t first, int64_t count) {
    const Transport part = part_of(op_, first, count);
    job_.batch = count;
    job_.out = part.value.as<A>();
    take_side(&job_.x, part.x, part.dx, part.da);
    take_side(&job_.y, part.y, part.dy, part.db);
    measure_.given[0] = part.a;
    measure_.given[1] = part.b;
    measure_.first = first;
    launch(stream_, emd1d_measure_kernel, {count, kThreads, kTotals}, measure_);
    if (op_.directions)
      launch(stream_, emd1d_centre_kernel, {count * op_.width, kThreads, kTotals}, job_.x.points,
             op_.n, op_.width, centre_);
  }

  void check(const View& numbers, const cuda::FaultSite& site) {
    launch(stream_, emd1d_check_kernel, over(numbers.size), cuda::Numbers(numbers), numbers.size,
           op_.width, int32_t{op_.directions ? 1 : 0}, site);
  }

  void sort(const DeviceSide<A>& side) {
    SortWork<A> work;
    work.along = side.along;
    work.at = side.at;
    work.order = side.order;
    work.n = side.n;
    work.lines = job_.batch * job_.lines;
    work.plan = plan_sort(side.n);
    const int64_t all = work.lines * side.n;
    if (work.plan.merges > 0 && items_[0].size() < all)
      for (Items& items : items_) items = {stream_.scratch<Item<A>>(all), all};
    if (work.plan.merges > 0) work.to = items_[0].data;
    launch(stream_, emd1d_sort_tile_kernel<A>,
           {work.lines * work.plan.tiles, work.plan.threads,
            work.plan.room * int64_t{sizeof(Item<A>)}},
           work);
    work.width = kTile;
    for (int k = 0; k < work.plan.merges; ++k, work.width *= 2) {
      work.from = items_[k % 2].data;
      work.to = k + 1 < work.plan.merges ? items_[(k + 1) % 2].data : nullptr;
      launch(stream_, emd1d_merge_kernel<A>, over(work.lines * divided_up(side.n, kMergeRun)),
             work);
    }
  }

  void gather(bool second) {
    const DeviceSide<A>& side = second ? job_.y : job_.x;
    const int64_t all = job_.batch * side.n;
    if (side.dpoints)
      launch(stream_, emd1d_unproject_kernel<A>, over(all * divided_up(op_.width, kProjected)),
             job_, second);
    if (side.to_weights) launch(stream_, emd1d_add_potentials_kernel<A>, over(all), job_, second);
  }

  struct Items {
    Item<A>* data = nullptr;
    int64_t count = 0;
    int64_t size() const { return count; }
  };

  const Transport& op_;
  Stream& stream_;
  Job<A> job_;
  Measure measure_;
  Share share_;
  double* centre_ = nullptr;
  Items items_[2];
};

}  // namespace

void transport_cuda(const Transport& op, Stream& stream) {
  check_sizes(op);
  if (op.batch == 0) return;
  if (op.x.dtype == DType::f64) {
    Run<double>(op, stream).solve();
  } else {
    Run<float>(op, stream).solve();
  }
}

}  // namespace surprisal::emd1d
