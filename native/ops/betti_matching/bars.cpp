// Losses of barcodes (BarLoss in op.h): first every barcode, then the loss of every image, with its
// gradient at the voxels of births and deaths.
#include <algorithm>
#include <vector>

#include "ops/betti_matching/assignment.h"
#include "ops/betti_matching/items.h"

namespace surprisal::betti_matching {
namespace {

struct Bars {
  List<Bar> degree[3];
  Bar oldest;  // the component that never dies
};

// The bars of all images, those of a prediction before those of its target.
template <class T>
class Barcodes {
 public:
  Barcodes(const BarLoss& op, const Values<T>& values, const Task& task)
      : op_(op), values_(values), task_(task), bars_(images_of(op) * values.images) {
    run_items(
        static_cast<int64_t>(bars_.size()), task.voxels(), op.cancel,
        [&](int64_t i) {
          const int input = static_cast<int>(i % values_.images);
          return Matching(task_, values_.keys_of(task_, i / values_.images, input), 1);
        },
        [&](int64_t i, Matching& m) { take(i, m); });
  }
  Bars* of(int64_t image) { return &bars_[image * values_.images]; }

 private:
  void take(int64_t i, const Matching& m) {
    const int input = static_cast<int>(i % values_.images);
    const T* x = values_.image[input] + i / values_.images * task_.voxels();
    const double padding = task_.padding == Padding::minmax ? x[m.padding_voxel[0]] : values_.pad;
    const auto at = [&](int32_t voxel) { return voxel < 0 ? padding : double(x[voxel]); };
    for (int k = 0; k < op_.axes; ++k) {
      const List<int32_t>& pairs = m.degree[k].unmatched[0];
      for (int64_t p = 0; p < pairs.size(); p += 2) {
        Bar bar{at(pairs[p]), at(pairs[p + 1]), pairs[p], pairs[p + 1]};
        if (k == 0 && p + 2 == pairs.size()) {
          bar.death = task_.superlevel ? 0 : 1;
          bars_[i].oldest = bar;
        } else if (bar.length() > op_.min_length) {
          bars_[i].degree[k].push(bar);
        }
      }
    }
  }

  const BarLoss& op_;
  const Values<T>& values_;
  const Task& task_;
  std::vector<Bars> bars_;
};

// Memory of one thread.
struct Work {
  Assignment assignment;
  List<int32_t> partner;
  List<uint8_t> taken;
};

// The loss of one image and its gradient.
template <class T>
class ImageBarLoss {
 public:
  ImageBarLoss(const BarLoss& op, const Task& task, int64_t item, double share, Work& work)
      : op_(op), task_(task), item_(item), share_(share), work_(work) {
    if (op.grad) grad_ = op.grad.as<T>() + item * task.voxels();
  }

  double sum(Bars* own) {
    double sum = 0;
    for (int k = 0; k < op_.axes; ++k) {
      if (!task_.wants(k)) continue;
      List<Bar>& bars = own[0].degree[k];
      const bool with_oldest = k == 0 && op_.essential;
      switch (static_cast<BarKind>(op_.kind)) {
        case BarKind::wasserstein:
          sum += wasserstein(bars, own[1].degree[k]);
          if (with_oldest) sum += toward(own[0].oldest, own[1].oldest);
          break;
        case BarKind::longest:
          sum += longest(bars, own[1].degree[k].size());
          break;
        case BarKind::lengths:
          if (with_oldest) bars.push(own[0].oldest);
          sum += lengths(bars, wanted(k));
          break;
      }
    }
    return share_ * sum;
  }

 private:
  void add(int32_t voxel, double slope) const {
    if (grad_ && voxel >= 0) grad_[voxel] += static_cast<T>(share_ * slope);
  }
  // scale (length)^2.
  double shorten(const Bar& bar, double scale) const {
    const double length = bar.birth - bar.death;
    add(bar.birth_voxel, 2 * scale * length);
    add(bar.death_voxel, -2 * scale * length);
    return scale * length * length;
  }
  // scale (end - aim)^2.
  double drive(int32_t voxel, double end, double aim, double scale) const {
    add(voxel, 2 * scale * (end - aim));
    return scale * (end - aim) * (end - aim);
  }
  double toward(const Bar& bar, const Bar& other) const {
    return drive(bar.birth_voxel, bar.birth, other.birth, op_.weight_matched);
  }

  double wasserstein(const List<Bar>& ours, const List<Bar>& theirs) const {
    auto& [assignment, partner, taken] = work_;
    assignment.solve(ours, theirs, partner, kCallers[op_.caller]);
    taken.resize(theirs.size());
    std::fill(taken.begin(), taken.end(), uint8_t{0});
    double sum = 0;
    for (int64_t i = 0; i < ours.size(); ++i) {
      if (partner[i] < 0) {
        sum += shorten(ours[i], op_.weight_prediction / 2);
        continue;
      }
      const Bar& bar = theirs[partner[i]];
      taken[partner[i]] = 1;
      sum += toward(ours[i], bar);
      sum += drive(ours[i].death_voxel, ours[i].death, bar.death, op_.weight_matched);
    }
    for (int64_t j = 0; j < theirs.size(); ++j) {
      const double length = theirs[j].length();
      if (!taken[j]) sum += op_.weight_target / 2 * length * length;
    }
    return sum;
  }

  static void sort(List<Bar>& bars) {
    std::sort(bars.begin(), bars.end(), [](const Bar& a, const Bar& b) {
      if (a.length() != b.length()) return a.length() > b.length();
      if (a.birth_voxel != b.birth_voxel) return a.birth_voxel < b.birth_voxel;
      return a.death_voxel < b.death_voxel;
    });
  }

  double longest(List<Bar>& bars, int64_t wanted) const {
    sort(bars);
    const double first = task_.superlevel ? 1 : 0;
    double sum = 0;
    for (int64_t i = 0; i < bars.size(); ++i) {
      const Bar& bar = bars[i];
      if (i >= wanted) {
        sum += shorten(bar, op_.weight_prediction);
      } else if (bar.length() <= op_.perfect) {
        sum += drive(bar.birth_voxel, bar.birth, first, op_.weight_matched);
        sum += drive(bar.death_voxel, bar.death, 1 - first, op_.weight_matched);
      }
    }
    return sum;
  }

  int64_t wanted(int k) const {
    const int64_t rows = op_.numbers.size / op_.axes;
    return op_.numbers.as<int32_t>()[item_ % rows * op_.axes + k];
  }
  double lengths(List<Bar>& bars, int64_t wanted) const {
    sort(bars);
    double sum = static_cast<double>(wanted);
    for (int64_t i = 0; i < bars.size(); ++i) {
      const Bar& bar = bars[i];
      const double sign = i < wanted ? -1 : 1, length = bar.length();
      const double slope = sign * op_.exponent * std::pow(length, op_.exponent - 1);
      const double up = bar.birth < bar.death ? -slope : bar.birth > bar.death ? slope : 0;
      sum += sign * std::pow(length, op_.exponent);
      add(bar.birth_voxel, up);
      add(bar.death_voxel, -up);
    }
    return sum;
  }

  const BarLoss& op_;
  const Task& task_;
  const int64_t item_;
  const double share_;
  Work& work_;
  T* grad_ = nullptr;
};

template <class T>
void check_finite(const Problem& op, const View& view, const char* name) {
  const T* x = view.as<T>();
  for (int64_t i = 0; i < view.size; ++i)
    if (std::isinf(x[i]))
      refuse_value(op, name, "finite numbers", x[i] > 0 ? "Infinity" : "-Infinity", i);
}

template <class T>
void loss_of(const BarLoss& op) {
  check<T>(op);
  check_finite<T>(op, op.prediction, "prediction");
  if (op.target) check_finite<T>(op, op.target, "target");
  require(op.kind == static_cast<int32_t>(BarKind::lengths) ? op.numbers.size > 0
                                                            : static_cast<bool>(op.target),
          "barcodeLoss: what the bars are compared with");
  sum_losses<T>(op, [&](const Values<T>& values, Task task, double share, double* losses) {
    task.essential = true;  // known whether it counts or not
    Barcodes<T> barcodes(op, values, task);
    const int64_t grain = kVoxelsPerPiece / task.voxels() + 1;
    parallel_for(images_of(op), grain, [&](int64_t first, int64_t last) {
      const Cancellable cancellable(op.cancel);
      Work work;
      for (int64_t i = first; i < last; ++i) {
        check_cancelled();
        losses[i] += ImageBarLoss<T>(op, task, i, share, work).sum(barcodes.of(i));
      }
    });
  });
}

}  // namespace

void bar_loss(const BarLoss& op) {
  visit_values(op.prediction.dtype, [&](auto tag) { loss_of<typename decltype(tag)::type>(op); });
}

}  // namespace surprisal::betti_matching
