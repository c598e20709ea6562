#include "core/labels.h"
#include "ops/betti_matching/items.h"

namespace surprisal::betti_matching {
namespace {

template <class T>
void write_bars(const Pairs& op, const Values<T>& values, const Task& task, const Matching& m,
                int64_t item) {
  int32_t* place = op.pairs.as<int32_t>() + item * op.capacity;
  T* value = op.values.as<T>() + item * op.capacity;
  const int64_t half = op.capacity / 2;
  for (const Degree& degree : m.degree) {
    const List<int32_t>& bars = degree.unmatched[0];
    for (int64_t i = 0; i < bars.size(); i += 2, ++place, ++value) {
      check_cancelled_at(i);
      place[0] = bars[i];
      place[half] = bars[i + 1];
      value[0] = static_cast<T>(values.at(m, task, item, 0, bars[i]));
      value[half] = static_cast<T>(values.at(m, task, item, 0, bars[i + 1]));
    }
    const double never = std::numeric_limits<double>::infinity();
    if (task.essential && task.wants(0) && &degree == m.degree)
      value[half - 1] = static_cast<T>(task.superlevel ? -never : never);
  }
}

// One list after the other, in the order of the pairs.
void write_cycles(const Pairs& op, const Matching& m, int64_t item) {
  int32_t* ends = op.cycle_ends.as<int32_t>() + item * (op.capacity / 2);
  Cycles cycles;
  List<int32_t> cells;
  const auto add = [&](int k, int i, int32_t bar) {
    check_cancelled();
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
  if (op.values) {
    write_bars(op, values, task, m, item);
  } else {
    int32_t* out = op.pairs.as<int32_t>() + item * op.capacity;
    for (const Degree& d : m.degree)
      for (const List<int32_t>* list : {&d.matched, &d.unmatched[0], &d.unmatched[1]})
        out = std::copy(list->begin(), list->end(), out);
  }
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
        return Matching(is_mask ? masks : task, keys, values.images);
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
      : op_(op),
        values_(values),
        task_(task),
        m_(m),
        item_(item),
        share_(share),
        costs_(costs_of(op, task.superlevel)) {
    if (op.grad) grad_ = op.grad.as<T>() + item * task.voxels();
  }

  double sum() {
    for (int k = 0; k < op_.axes; ++k) {
      const Degree& d = m_.degree[k];
      const int64_t n = d.matched.size() / 4, essential = task_.essential && k == 0 ? n - 1 : n;
      add<4>(d.matched, grad_, [&](const int32_t* pair, int64_t q) {
        if (q == essential) return of_match(costs_, at(0, pair[0]), at(1, pair[2]), 0, 0, true);
        return of_match(costs_, at(0, pair[0]), at(1, pair[2]), at(0, pair[1]), at(1, pair[3]),
                        false);
      });
      for (int i = 0; i < 2; ++i)
        add<2>(d.unmatched[i], i == 0 ? grad_ : nullptr, [&](const int32_t* pair, int64_t) {
          return of_rest(costs_, i, at(i, pair[0]), at(i, pair[1]));
        });
    }
    return share_ * sums_.total();
  }

 private:
  double at(int i, int32_t voxel) const { return values_.at(m_, task_, item_, i, voxel); }

  // A list of pairs that each take `kWidth` entries, the first two of them of the prediction.
  template <int kWidth, class F>
  void add(const List<int32_t>& list, T* grad, F effect_of) {
    const int64_t n = list.size() / kWidth;
    for (int64_t first = 0; first < n; first += kLanes) {
      check_cancelled();
      const int64_t count = std::min<int64_t>(n - first, kLanes);
      const int32_t* pairs = &list[first * kWidth];
      T slope[2][kLanes];
      for (int64_t q = 0; q < count; ++q) {
        const Effect effect = effect_of(pairs + q * kWidth, first + q);
        sums_.add(q, effect.loss);
        slope[0][q] = static_cast<T>(share_ * effect.birth);
        slope[1][q] = static_cast<T>(share_ * effect.death);
      }
      for (int end = 0; grad && end < 2; ++end) {
        for (int64_t q = 0; q < count; ++q) {
          const int32_t voxel = pairs[q * kWidth + end];
          if (voxel >= 0) grad[voxel] += slope[end][q];
        }
      }
    }
  }

  const Loss& op_;
  const Values<T>& values_;
  const Task& task_;
  const Matching& m_;
  const int64_t item_;
  const double share_;
  const Costs costs_;
  Partial sums_;
  T* grad_ = nullptr;
};

template <class T>
void loss_of(const Loss& op) {
  check<T>(op);
  sum_losses<T>(op, [&](const Values<T>& values, const Task& task, double share, double* losses) {
    run_items(
        images_of(op), task.voxels(), op.cancel,
        [&](int64_t i) { return Matching(task, values.keys(task, i), values.images); },
        [&](int64_t i, Matching& m) {
          drop_short(m, values, task, i, op.min_length);
          losses[i] += ImageLoss<T>(op, values, task, m, i, share).sum();
        });
  });
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
    while (first < last) {
      const int64_t image = first / each, end = std::min(last, (image + 1) * each);
      const T factor = static_cast<T>(op.factor * upstream[op.upstream.size == 1 ? 0 : image]);
      for (int64_t i = first; i < end; ++i) {
        // 0 whatever the factor is; where that is nobody can predict.
        const T product = factor * grad[i] * (p ? p[i] * (1 - p[i]) : T{1});
        const T slope = grad[i] == 0 ? T{0} : product;
        if constexpr (std::is_floating_point_v<Out>)
          out[i] = static_cast<Out>(slope);
        else
          out[i] = from_float<Out>(static_cast<float>(slope));
      }
      first = end;
    }
  });
}

template <class T>
void sparse_of(const Sparse& op) {
  const T* grad = op.grad.as<T>();
  const T* p = op.probability ? op.probability.as<T>() : nullptr;
  int64_t* index = op.index ? op.index.as<int64_t>() : nullptr;
  T* value = op.value ? op.value.as<T>() : nullptr;
  int64_t n = 0;
  for (int64_t i = 0; i < op.grad.size; ++i) {
    if (grad[i] == 0) continue;
    if (index) {
      require(n < op.index.size && n < op.value.size, "bettiMatching: size of a sparse gradient");
      index[n] = i;
      value[n] = grad[i] * (p ? p[i] * (1 - p[i]) : T{1});
    }
    ++n;
  }
  op.count.as<int64_t>()[0] = n;
}

// The device's form is its own; this one serves tests.
template <class T, class Out>
void scatter_of(const Scatter& op) {
  std::fill_n(op.out.as<Out>(), op.out.size, Out{});
  if (op.images == 0) return;
  const int64_t each = op.out.size / op.images;
  for (int64_t n = 0; n < op.index.size; ++n) {
    const int64_t i = op.index.as<int64_t>()[n];
    const T upstream = op.upstream.as<T>()[op.upstream.size == 1 ? 0 : i / each];
    const T slope = static_cast<T>(op.factor * upstream) * op.value.as<T>()[n];
    if constexpr (std::is_floating_point_v<Out>)
      op.out.as<Out>()[i] = static_cast<Out>(slope);
    else
      op.out.as<Out>()[i] = from_float<Out>(static_cast<float>(slope));
  }
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

void fits(const Fits& op) { op.out.as<int32_t>()[0] = 0; }

void labels(const Labels& op) {
  require(op.caller >= 0 && op.caller < 6, "bettiMatching: caller");
  expect_labels(kCallers[op.caller], op.target, classes_of(op.channels), 0, false);
}

void sparse(const Sparse& op) {
  visit_values(op.grad.dtype, [&](auto tag) { sparse_of<typename decltype(tag)::type>(op); });
}

void scatter(const Scatter& op) {
  visit_values(op.value.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_float(op.out.dtype, [&](auto out) { scatter_of<T, typename decltype(out)::type>(op); });
  });
}

}  // namespace surprisal::betti_matching
