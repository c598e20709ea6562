// Betti matchings of batches of crops up to 64 x 64 (Stucki et al., ICML 2023), a block a crop, in
// shared memory, with the CPU's pairs in its order and its sums to the bit (compiled without
// contraction). op.h has the formula, device_*.h the steps: ranks of all values by one sort, the
// discrete gradient and what it leaves to be sorted, union-find by one lane an image, loss by a
// warp. Floor: the walks, a chain of dependent reads of shared memory: some 250 cycles an entry,
// 150 to 1500 entries a degree for 48 x 48. They leave nearly all of a processor idle, so what
// counts is how many crops are resident: 20 bytes a position and 3 a voxel, and the lists with 18 a
// voxel where that leaves room for two blocks (plan.h): 48 x 48 takes 96 KB with the lists, two
// blocks on an H100; 64 x 64 takes 97 KB without them. Larger images are matched by the CPU
// (betti-matching-loss.ts).
#include "core/labels.h"
#include "ops/betti_matching/device_loss.h"
#include "ops/betti_matching/items.h"

namespace surprisal::betti_matching {
namespace {

// --- kernels -------------------------------------------------------------------------------------

__device__ inline void find_all(const Block& b) {
  const bool dual = b.crop().rank == 2 && b.task.wants[1];
  if (dual) find_pairs<true>(b, false);
  if (b.task.wants[0]) find_pairs<false>(b, dual);
}

// Adds what one filtration makes of the crop to its gradient; gives its loss.
__device__ inline double add_loss(const Block& b, double share, bool is_first) {
  const CropTask& task = b.task;
  const int voxels = task.crop.voxels();
  double* gradient = b.at<double>(task.layout.parent);
  for (int v = thread_index(); v < voxels && task.grad; v += block_size())
    store(gradient + v,
          is_first ? 0 : number_at(task.grad.data, task.grad.dtype, b.item * voxels + v));
  sync_threads();  // the gradient so far
  const double sum = warp_index() == 0 ? CropLoss(b, share).sum() : 0;
  sync_threads();  // the whole gradient; the warp is done with the lists
  for (int v = thread_index(); v < voxels && task.grad; v += block_size())
    task.grad.set(b.item * voxels + v, load(gradient + v));
  return sum;
}

__global__ void __launch_bounds__(kCropThreads, 2)
    betti_matching_crop_kernel(const __grid_constant__ CropTask task) {
  const int64_t words = 3 * static_cast<int64_t>(task.layout.capacity);
  for (int64_t item = block_index(); item < task.images; item += grid_size()) {
    double sum = 0;
    for (int f = 0; f < 2; ++f) {
      if (!task.filtration[f]) continue;
      const bool is_first = f == 0 || !task.filtration[0];
      unsigned char* memory = &shared<unsigned char>();
      uint32_t* lists = task.lists ? task.lists + block_index() * words
                                   : reinterpret_cast<uint32_t*>(memory + task.layout.lists);
      Block b{task, memory, lists, f == 1, kBeyond, item};
      rank_values(b);
      find_all(b);
      const bool both = task.filtration[0] && task.filtration[1];
      sum += add_loss(b, both ? 0.5 : 1, is_first);
      sync_threads();  // the gradient has been read; the next crop takes its place
    }
    if (thread_index() != 0) continue;
    if (task.sums) store(task.sums + item, sum);
    if (task.each) task.each.set(item, sum);
  }
}

struct Totals {
  const double* sums;
  int64_t images;
  bool mean;
  NumbersOut out;
};

// One warp, with terms.h's partial sums.
__global__ void __launch_bounds__(kWarp) betti_matching_reduce_kernel(const Totals totals) {
  double partial = 0;
  for (int64_t i = lane_index(); i < totals.images; i += kWarp) partial += load(totals.sums + i);
  const double total = warp_sum(partial);
  if (lane_index() != 0) return;
  totals.out.set(0, totals.mean ? total / static_cast<double>(totals.images) : total);
}

struct Slopes {
  Numbers grad, upstream, probability;
  NumbersOut out;
  const int64_t* index = nullptr;  // of a scatter
  int64_t n = 0, each = 1;         // elements of grad, of an image
  double factor = 1;
  bool wide = false, single = true;  // float64; one upstream gradient for all
};

// In the precision of the gradient, as the CPU.
__device__ inline double scaled(const Slopes& s, int64_t image, double slope, double p) {
  const double upstream = s.factor * s.upstream[s.single ? 0 : image];
  if (s.wide) return s.probability ? upstream * slope * (p * (1 - p)) : upstream * slope;
  const float first = static_cast<float>(upstream) * static_cast<float>(slope);
  const float q = static_cast<float>(p);
  return s.probability ? first * (q * (1 - q)) : first;
}

__global__ void __launch_bounds__(256) betti_matching_scale_kernel(const Slopes s) {
  const int64_t stride = grid_size() * block_size();
  for (int64_t i = block_index() * block_size() + thread_index(); i < s.n; i += stride) {
    const double slope = s.grad[i];
    const double p = s.probability ? s.probability[i] : 0;
    s.out.set(i, slope == 0 ? 0 : scaled(s, i / s.each, slope, p));
  }
}

// Places are distinct, so nobody else adds there.
__global__ void __launch_bounds__(256) betti_matching_scatter_kernel(const Slopes s) {
  const int64_t stride = grid_size() * block_size();
  for (int64_t n = block_index() * block_size() + thread_index(); n < s.n; n += stride) {
    const int64_t i = load(s.index + n);
    s.out.set(i, scaled(s, i / s.each, s.grad[n], 0));
  }
}

struct LabelCheck {
  const void* labels;
  bool wide;  // int64
  int64_t n, classes;
  int32_t caller;
  FaultSite fault;
  __device__ int64_t label(int64_t i) const {
    return wide ? load(static_cast<const int64_t*>(labels) + i)
                : load(static_cast<const int32_t*>(labels) + i);
  }
};

// Reports the first bad label of each block: threads would wait for one lock.
__global__ void __launch_bounds__(256) betti_matching_labels_kernel(const LabelCheck check) {
  uint64_t* const first = &shared<uint64_t>();
  const uint64_t none = ~uint64_t{0};
  if (thread_index() == 0) store(first, none);
  sync_threads();  // it is set
  const int64_t stride = grid_size() * block_size();
  for (int64_t i = block_index() * block_size() + thread_index(); i < check.n; i += stride) {
    const int64_t y = check.label(i);
    if (y >= 0 && y < check.classes) continue;
    atomic_min(first, static_cast<uint64_t>(i));
    break;
  }
  sync_threads();  // every thread has looked
  if (thread_index() != 0 || load(first) == none) return;
  const int64_t at = static_cast<int64_t>(load(first));
  report_fault(check.fault, at, check.label(at), check.classes, check.caller);
}

// --- launches ------------------------------------------------------------------------------------

[[noreturn]] void raise_nan(const Fault& fault) {
  Problem op;
  op.caller = static_cast<int32_t>(fault.b >> 60 & 7);
  op.shape.rank = static_cast<int>(fault.b >> 56 & 15);
  const int axes = static_cast<int>(fault.b >> 52 & 15), batch = op.shape.rank - axes;
  for (int i = 0; i < axes; ++i) op.shape.size[batch + i] = fault.b >> 13 * i & 0x1fff;
  for (int i = 0; i < batch; ++i) op.shape.size[i] = i == batch - 1 ? fault.a : int64_t{1} << 62;
  const bool is_target = fault.row >= fault.value;
  refuse_value(op, is_target ? "target" : "prediction", "no NaN", "NaN",
               fault.row - (is_target ? fault.value : 0));
}

void raise_label(const Fault& f) { refuse_label(kCallers[f.b], f.a, 0, false, f.value, f.row); }

Room room_of(const Stream& stream) {
  const Properties& device = stream.properties();
  return {device.shared, device.shared_per_sm, device.processors};
}

// Fills what all forms share; gives the launch.
Shape prepare(const Problem& op, Stream& stream, CropTask& task) {
  const int axes = static_cast<int>(op.axes), batch = op.shape.rank - axes;
  require(axes >= 1 && axes <= 3 && batch >= 0, "bettiMatching: axes");
  require(op.target && op.prediction.size == op.shape.count() &&
              op.target.size == op.prediction.size && op.target.dtype == op.prediction.dtype,
          "bettiMatching: size of prediction or target");
  require(crop_of(op.shape.size + batch, axes, op.padding != 0, task.crop),
          "bettiMatching: crops of at most 64 x 64");
  task.images = images_of(op);
  const CropPlan plan = plan_crops(task.crop, task.images, sizeof(Head), room_of(stream));
  require(plan.fits, "bettiMatching: shared memory of the device");
  task.layout = plan.layout;
  task.input[0] = op.prediction;
  task.input[1] = op.target;
  for (int k = 0; k < 2; ++k) task.wants[k] = op.degrees >> k & 1;
  const auto filtration = static_cast<Filtration>(op.filtration);
  task.filtration[0] = filtration != Filtration::superlevel;
  task.filtration[1] = filtration != Filtration::sublevel;
  task.intersection = op.intersection;
  task.positive_bars = op.positive_bars;
  task.essential = op.essential;
  task.padding = op.padding;
  task.pad = op.prediction.dtype == DType::f64 ? op.pad : static_cast<float>(op.pad);
  task.min_length = op.min_length;
  task.axes = axes;
  if (plan.layout.lists < 0)
    task.lists = stream.scratch<uint32_t>(plan.blocks * 3 * plan.layout.capacity);
  task.fault = stream.fault_site(raise_nan);
  task.classes = batch > 0 ? op.shape[batch - 1] : 1;
  task.sizes = int64_t{op.caller} << 60 | int64_t{op.shape.rank} << 56 | int64_t{axes} << 52;
  for (int i = 0; i < axes; ++i) task.sizes |= op.shape[batch + i] << 13 * i;
  return {plan.blocks, plan.threads, plan.layout.bytes};
}

constexpr int kSlopeThreads = 256;

Shape grid_for(int64_t n, const Stream& stream) {
  const int64_t most = int64_t{8} * stream.properties().processors;
  return {std::min(most, (n + kSlopeThreads - 1) / kSlopeThreads), kSlopeThreads};
}

// `grad` is the gradient of images like op.out, or its entries.
template <class Op>
Slopes slopes_of(const Op& op, const View& grad) {
  Slopes s;
  s.grad = grad;
  s.upstream = op.upstream;
  s.out = op.out;
  s.n = grad.size;
  s.each = op.out.size / op.images;
  s.factor = op.factor;
  s.wide = grad.dtype == DType::f64;
  s.single = op.upstream.size == 1;
  return s;
}

}  // namespace

void fits_cuda(const Fits& op, cuda::Stream& stream) {
  Crop crop;
  const bool fits = crop_of(op.spatial.size, op.spatial.rank, op.padded, crop) &&
                    plan_crops(crop, 1, sizeof(Head), room_of(stream)).fits;
  op.out.as<int32_t>()[0] = fits;
}

void labels_cuda(const Labels& op, cuda::Stream& stream) {
  require(op.caller >= 0 && op.caller < 6, "bettiMatching: caller");
  if (op.target.size == 0) return;
  Shape grid = grid_for(op.target.size, stream);
  grid.shared = sizeof(uint64_t);
  launch(stream, betti_matching_labels_kernel, grid,
         LabelCheck{op.target.data, op.target.dtype == DType::i64, op.target.size,
                    classes_of(op.channels), op.caller, stream.fault_site(raise_label)});
}

void pairs_cuda(const Pairs& op, cuda::Stream& stream) {
  require(!op.values && !op.metrics && !op.cycles, "bettiMatching: pairs alone on a device");
  if (images_of(op) == 0) return;
  CropTask task;
  const Shape shape = prepare(op, stream, task);
  task.counts = op.counts.as<int32_t>();
  task.pairs = op.pairs.as<int32_t>();
  task.capacity = op.capacity;
  launch(stream, betti_matching_crop_kernel, shape, task);
}

void loss_cuda(const Loss& op, cuda::Stream& stream) {
  CropTask task;
  if (images_of(op) > 0) {
    const Shape shape = prepare(op, stream, task);
    task.costs = costs_of(op, true);
    task.grad = op.grad;
    if (op.reduction == 0)
      task.each = op.loss;
    else
      task.sums = stream.scratch<double>(task.images);
    launch(stream, betti_matching_crop_kernel, shape, task);
  }
  if (op.reduction == 0) return;
  launch(stream, betti_matching_reduce_kernel, {1, kWarp},
         Totals{task.sums, task.images, op.reduction == 1, op.loss});
}

void scale_cuda(const Scale& op, cuda::Stream& stream) {
  if (op.images == 0) return;
  Slopes s = slopes_of(op, op.grad);
  s.probability = op.probability;
  launch(stream, betti_matching_scale_kernel, grid_for(s.n, stream), s);
}

void scatter_cuda(const Scatter& op, cuda::Stream& stream) {
  if (op.images == 0) return;
  stream.fill_bytes(op.out.data, 0, op.out.size * size_of(op.out.dtype));
  Slopes s = slopes_of(op, op.value);
  s.index = op.index.as<int64_t>();
  launch(stream, betti_matching_scatter_kernel, grid_for(s.n, stream), s);
}

}  // namespace surprisal::betti_matching
