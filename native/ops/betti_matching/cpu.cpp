#include "ops/betti_matching/items.h"

namespace surprisal::betti_matching {
namespace {

template <class T>
void write_values(const Pairs& op, const Values<T>& values, const Task& task, const Matching& m,
                  int64_t item) {
  const int32_t* pairs = op.pairs.as<int32_t>() + item * op.capacity;
  T* out = op.values.as<T>() + item * op.capacity;
  for (const Degree& degree : m.degree) {
    const int64_t n = degree.unmatched[0].size();
    for (int64_t i = 0; i < n; ++i) *out++ = static_cast<T>(values.at(m, task, item, 0, *pairs++));
    const double never = std::numeric_limits<double>::infinity();
    if (task.essential && task.wants(0) && &degree == m.degree)
      out[-1] = static_cast<T>(task.superlevel ? -never : never);
  }
}

// One list after the other, in the order of the pairs.
void write_cycles(const Pairs& op, const Matching& m, int64_t item) {
  int32_t* ends = op.cycle_ends.as<int32_t>() + item * (op.capacity / 2);
  Cycles cycles;
  List<int32_t> cells;
  const auto add = [&](int k, int i, int32_t bar) {
    m.cycle(cycles, k, i, bar, cells);
    if (cells.size() > std::numeric_limits<int32_t>::max())
      throw Error(Code::out_of_memory, std::string(kCallers[op.caller]) +
                                           ": cycles of one image that take more than 8 GB");
    *ends++ = static_cast<int32_t>(cells.size());
  };
  for (int k = 0; k < op.axes; ++k) {
    const Degree& d = m.degree[k];
    for (int64_t b = 0; b < d.matched_bars.size(); ++b) add(k, b & 1, d.matched_bars[b]);
    for (int i = 0; i < 2; ++i)
      for (const int32_t bar : d.unmatched_bars[i]) add(k, i, bar);
  }
  op.cycle_sizes.as<double>()[item] = static_cast<double>(cells.size());
  if (cells.size() > op.cycle_capacity) return;
  std::copy(cells.begin(), cells.end(), op.cycles.as<int32_t>() + item * op.cycle_capacity);
}

template <class T>
void write_pairs(const Pairs& op, const Values<T>& values, const Task& task, const Matching& m,
                 int64_t item) {
  int32_t* count = op.counts.as<int32_t>() + item * op.axes * 3;
  int64_t total = 0;
  for (int k = 0; k < op.axes; ++k) {
    const Degree& d = m.degree[k];
    *count++ = static_cast<int32_t>(d.matched.size() / 4);
    *count++ = static_cast<int32_t>(d.unmatched[0].size() / 2);
    *count++ = static_cast<int32_t>(d.unmatched[1].size() / 2);
    total += d.matched.size() + d.unmatched[0].size() + d.unmatched[1].size();
  }
  if (total > op.capacity) return;
  int32_t* out = op.pairs.as<int32_t>() + item * op.capacity;
  for (const Degree& d : m.degree)
    for (const List<int32_t>* list : {&d.matched, &d.unmatched[0], &d.unmatched[1]})
      out = std::copy(list->begin(), list->end(), out);
  if (op.values) write_values(op, values, task, m, item);
  if (op.cycles) write_cycles(op, m, item);
}

void write_metrics(const Pairs& op, const Task& task, const Matching& m, int64_t item) {
  double* out = op.metrics.as<double>() + item * 2;
  out[0] = out[1] = 0;
  for (int k = 0; k < op.axes; ++k) {
    if (!task.wants(k)) continue;
    const Degree& d = m.degree[k];
    out[0] += static_cast<double>((d.unmatched[0].size() + d.unmatched[1].size()) / 2);
    double difference = static_cast<double>((d.unmatched[0].size() - d.unmatched[1].size()) / 2);
    // The component that never dies, where there is any foreground.
    if (k == 0) difference += (m.is_empty(0) ? 0 : 1) - (m.is_empty(1) ? 0 : 1);
    out[1] += std::abs(difference);
  }
}

template <class T>
void pairs_of(const Pairs& op) {
  check<T>(op);
  const Values<T> values(op);
  Task task = task_of(op, static_cast<Filtration>(op.filtration) == Filtration::superlevel);
  Task masks = task;
  masks.essential = false;
  task.cycles = static_cast<bool>(op.cycles);
  const int64_t images = images_of(op), kinds = op.metrics ? 2 : 1;
  if (images == 0) return;
  run_items(
      images * kinds, task.voxels(), op.cancel,
      [&](int64_t i) {
        const int64_t item = i / kinds;
        const bool is_mask = i % kinds == 1;
        const Keys keys =
            is_mask ? mask_keys(values, task, item, op.threshold) : values.keys(task, item);
        return std::make_unique<Matching>(is_mask ? masks : task, keys, values.images);
      },
      [&](int64_t i, Matching& m) {
        const int64_t item = i / kinds;
        if (i % kinds == 1) return write_metrics(op, task, m, item);
        drop_short(m, values, task, item, op.min_length);
        write_pairs(op, values, task, m, item);
      });
}

// The loss of one image and its gradient, values and voxels in the filtration's order.
template <class T>
class ImageLoss {
 public:
  ImageLoss(const Loss& op, const Values<T>& values, const Task& task, const Matching& m,
            int64_t item, double share)
      : op_(op), values_(values), task_(task), m_(m), item_(item), share_(share) {
    if (op.grad) grad_ = op.grad.as<T>() + item * task.voxels();
  }

  double sum() {
    double sum = 0;
    for (int k = 0; k < op_.axes; ++k) {
      const Degree& d = m_.degree[k];
      const int64_t n = d.matched.size();
      for (int64_t p = 0; p < n; p += 4) {
        sum += matched(d.matched[p], d.matched[p + 2]);
        // The component that never dies has no death to compare.
        if (task_.essential && k == 0 && p + 4 == n) continue;
        sum += matched(d.matched[p + 1], d.matched[p + 3]);
      }
      for (int i = 0; i < 2; ++i)
        for (int64_t p = 0; p < d.unmatched[i].size(); p += 2)
          sum += unmatched(i, d.unmatched[i][p], d.unmatched[i][p + 1]);
    }
    return share_ * sum;
  }

 private:
  // Equal infinities differ by nothing.
  static double difference(double a, double b) { return a == b ? 0 : a - b; }
  double at(int i, int32_t voxel) const { return values_.at(m_, task_, item_, i, voxel); }
  void add(int32_t voxel, double slope) {
    if (grad_ && voxel >= 0) grad_[voxel] += static_cast<T>(share_ * slope);
  }

  double matched(int32_t a, int32_t b) {
    const double d = difference(at(0, a), at(1, b));
    add(a, 4 * op_.weight_matched * d);
    return 2 * op_.weight_matched * d * d;
  }

  double unmatched(int i, int32_t birth, int32_t death) {
    const double weight = i == 0 ? op_.weight_prediction : op_.weight_target;
    double b = at(i, birth), d = at(i, death);
    if (!op_.one_zero) {
      const double length = difference(b, d);
      if (i == 0) {
        add(birth, 2 * weight * length);
        add(death, -2 * weight * length);
      }
      return weight * length * length;
    }
    // To (1, 0) of the sublevel filtration of x or 1 - x.
    b -= task_.superlevel ? 0 : 1;
    d -= task_.superlevel ? 1 : 0;
    if (i == 0) {
      add(birth, 4 * weight * b);
      add(death, 4 * weight * d);
    }
    return 2 * weight * (b * b + d * d);
  }

  const Loss& op_;
  const Values<T>& values_;
  const Task& task_;
  const Matching& m_;
  const int64_t item_;
  const double share_;
  T* grad_ = nullptr;
};

template <class T>
void loss_of(const Loss& op) {
  check<T>(op);
  const Values<T> values(op);
  const int64_t images = images_of(op);
  const Scratch<double> sums(images);
  std::fill_n(sums.data(), images, 0.0);
  if (op.grad) std::fill_n(op.grad.as<T>(), op.grad.size, T{0});
  each_filtration(op, [&](bool is_superlevel, double share) {
    if (images == 0) return;
    const Task task = task_of(op, is_superlevel);
    run_items(
        images, task.voxels(), op.cancel,
        [&](int64_t i) {
          return std::make_unique<Matching>(task, values.keys(task, i), values.images);
        },
        [&](int64_t i, Matching& m) {
          drop_short(m, values, task, i, op.min_length);
          sums[i] += ImageLoss<T>(op, values, task, m, i, share).sum();
        });
  });
  write_losses(sums, images, op.reduction, op.loss.as<T>());
}

template <class T, class Out>
void scale_of(const Scale& op) {
  const T* grad = op.grad.as<T>();
  const T* p = op.probability ? op.probability.as<T>() : nullptr;
  const T* upstream = op.upstream.as<T>();
  Out* out = op.out.as<Out>();
  if (op.images == 0) return;
  const int64_t each = op.grad.size / op.images;
  parallel_for(op.grad.size, 1 << 15, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      if (grad[i] == 0) {
        out[i] = Out{};
        continue;
      }
      const T factor = static_cast<T>(op.factor * upstream[op.upstream.size == 1 ? 0 : i / each]);
      const T slope = factor * grad[i] * (p ? p[i] * (1 - p[i]) : T{1});
      if constexpr (std::is_floating_point_v<Out>)
        out[i] = static_cast<Out>(slope);
      else
        out[i] = from_float<Out>(static_cast<float>(slope));
    }
  });
}

}  // namespace

void pairs(const Pairs& op) {
  visit_values(op.prediction.dtype, [&](auto tag) { pairs_of<typename decltype(tag)::type>(op); });
}

void loss(const Loss& op) {
  visit_values(op.prediction.dtype, [&](auto tag) { loss_of<typename decltype(tag)::type>(op); });
}

void scale(const Scale& op) {
  visit_values(op.grad.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_float(op.out.dtype, [&](auto out) { scale_of<T, typename decltype(out)::type>(op); });
  });
}

}  // namespace surprisal::betti_matching
