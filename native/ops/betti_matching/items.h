// The images of a problem one after the other, checked, as keys, and run as tasks of the pool.
#pragma once
#include <atomic>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "ops/betti_matching/matching.h"
#include "ops/betti_matching/op.h"
#include "ops/betti_matching/terms.h"

namespace surprisal::betti_matching {

inline int64_t images_of(const Problem& op) {
  int64_t n = 1;
  for (int i = 0; i < op.shape.rank - op.axes; ++i) n *= op.shape[i];
  return n;
}

inline Task task_of(const Problem& op, bool superlevel) {
  Task task;
  task.axes = static_cast<int>(op.axes);
  for (int i = 0; i < task.axes; ++i) task.shape[i] = op.shape[op.shape.rank - task.axes + i];
  task.degrees = op.degrees;
  task.superlevel = superlevel;
  task.intersection = op.intersection;
  task.positive_bars = op.positive_bars;
  task.essential = op.essential;
  task.padding = static_cast<Padding>(op.padding);
  return task;
}

inline Costs costs_of(const Loss& op, bool superlevel) {
  return {op.weight_matched, op.weight_prediction, op.weight_target, op.one_zero, superlevel};
}

[[noreturn]] inline void refuse_value(const Problem& op, const char* name, const char* wanted,
                                      const char* got, int64_t at) {
  std::string index;
  int64_t rest = at;
  for (int i = op.shape.rank - 1; i >= 0; --i) {
    index = std::to_string(rest % op.shape[i]) + (index.empty() ? "" : ", ") + index;
    rest /= op.shape[i];
  }
  throw Error(Code::invalid_value, std::string(kCallers[op.caller]) + ": expected " + name +
                                       " to hold " + wanted + ", got " + got + " at [" + index +
                                       "] (element " + std::to_string(at) + ")");
}

template <class T>
void check_values(const Problem& op, const View& view, const char* name) {
  constexpr int64_t kBlock = 1024;  // so many are looked at before the answer is
  const T* x = view.as<T>();
  std::atomic<int64_t> first{view.size};
  parallel_for(view.size, 64 * kBlock, [&](int64_t begin, int64_t end) {
    for (; begin < end; begin += kBlock) {
      int found = 0;
      if (end - begin >= kBlock)
        for (int64_t i = 0; i < kBlock; ++i) found |= x[begin + i] != x[begin + i];
      if (end - begin >= kBlock && !found) continue;
      for (int64_t i = begin; i < std::min(end, begin + kBlock); ++i) {
        if (x[i] == x[i]) continue;
        int64_t known = first.load();
        while (i < known && !first.compare_exchange_weak(known, i)) {
        }
        return;
      }
    }
  });
  if (first < view.size) refuse_value(op, name, "no NaN", "NaN", first);
}

template <class T>
void check(const Problem& op) {
  require(op.caller >= 0 && op.caller < 6, "bettiMatching: caller");
  require(op.axes >= 1 && op.axes <= 3 && op.axes <= op.shape.rank, "bettiMatching: axes");
  require(op.prediction.size == op.shape.count(), "bettiMatching: size of prediction");
  require(!op.target || op.target.size == op.prediction.size, "bettiMatching: size of target");
  check_values<T>(op, op.prediction, op.target ? "prediction" : "image");
  if (op.target) check_values<T>(op, op.target, "target");
}

// The values of a problem's images.
template <class T>
struct Values {
  explicit Values(const Problem& op)
      : image{op.prediction.as<T>(), op.target ? op.target.as<T>() : nullptr},
        pad(static_cast<T>(op.pad)),
        images(op.target ? 2 : 1) {}

  const T* image[2];
  T pad;
  int images;

  Keys keys(const Task& task, int64_t item) const {
    const T* at[2] = {image[0] + item * task.voxels(),
                      images == 2 ? image[1] + item * task.voxels() : nullptr};
    const double padding[2] = {pad, pad};
    Keys out;
    make_keys(at, images, task.voxels(), padding, task.superlevel, out);
    return out;
  }
  // Of one input alone.
  Keys keys_of(const Task& task, int64_t item, int i) const {
    const T* at[1] = {image[i] + item * task.voxels()};
    const double padding[1] = {pad};
    Keys out;
    make_keys(at, 1, task.voxels(), padding, task.superlevel, out);
    return out;
  }
  // Of input i at a voxel, or in its padding.
  double at(const Matching& m, const Task& task, int64_t item, int i, int32_t voxel) const {
    const T* values = image[i] + item * task.voxels();
    if (voxel >= 0) return values[voxel];
    return task.padding == Padding::minmax ? values[m.padding_voxel[i]] : pad;
  }
};

// The keys of masks: 0 in the foreground, which comes first, and 1 in the background.
template <class T>
Keys mask_keys(const Values<T>& values, const Task& task, int64_t item, double threshold) {
  Keys out;
  const auto key = [&](double x) {
    return (task.superlevel ? x >= threshold : x <= threshold) ? 0 : 1;
  };
  for (int i = 0; i < 2; ++i) {
    const T* x = values.image[i] + item * task.voxels();
    out.memory[i].resize(task.voxels());
    for (int64_t p = 0; p < task.voxels(); ++p) out.memory[i][p] = key(x[p]);
    out.image[i] = out.memory[i].data();
    out.padding[i] = key(values.pad);
  }
  return out;
}

// Waking a thread costs as much as matching this many voxels.
constexpr int64_t kVoxelsPerPiece = 4096;

// Runs the items: whole ones on each thread where there are enough, else their tasks side by side.
template <class Make, class End>
void run_items(int64_t items, int64_t voxels, const View& cancel, Make make, End end) {
  if (items >= num_threads() || items * voxels <= kVoxelsPerPiece) {
    return parallel_for(items, kVoxelsPerPiece / voxels + 1, [&](int64_t first, int64_t last) {
      const Cancellable cancellable(cancel);
      for (int64_t i = first; i < last; ++i) {
        check_cancelled();
        Matching m = make(i);
        m.run();
        end(i, m);
      }
    });
  }
  std::vector<std::unique_ptr<Matching>> all(items);  // fewer than threads
  const auto each = [&](int64_t count, auto work) {
    parallel_for(items * count, 1, [&](int64_t first, int64_t last) {
      const Cancellable cancellable(cancel);
      for (int64_t i = first; i < last; ++i) {
        check_cancelled();
        work(i / count, static_cast<int>(i % count));
      }
    });
  };
  each(1, [&](int64_t i, int) { all[i].reset(new Matching(make(i))); });
  each(all[0]->images(), [&](int64_t i, int k) { all[i]->image(k); });
  if (all[0]->reductions() > 0)
    each(all[0]->reductions(), [&](int64_t i, int k) { all[i]->reduction(k); });
  each(1, [&](int64_t i, int) {
    all[i]->finish();
    end(i, *all[i]);
    all[i].reset();
  });
}

// Of the losses of all images: 0 each, 1 their mean, 2 their sum.
template <class T>
void write_losses(const double* losses, int64_t images, int32_t reduction, T* out) {
  Partial all;
  for (int64_t i = 0; i < images; ++i) {
    if (reduction == 0) out[i] = static_cast<T>(losses[i]);
    all.add(i, losses[i]);
  }
  const double total = all.total(), nothing = std::numeric_limits<double>::quiet_NaN();
  if (reduction == 1) out[0] = static_cast<T>(images ? total / images : nothing);
  if (reduction == 2) out[0] = static_cast<T>(total);
}

// The loss of checked images and, from zeros, its gradient: add(values, task, share, losses) adds
// what the one filtration asked for makes of each image, or each of both.
template <class T, class Op, class F>
void sum_losses(const Op& op, F&& add) {
  const Values<T> values(op);
  const int64_t images = images_of(op);
  const Scratch<double> losses(images);
  std::fill_n(losses.data(), images, 0.0);
  if (op.grad) std::fill_n(op.grad.template as<T>(), op.grad.size, T{0});
  const auto filtration = static_cast<Filtration>(op.filtration);
  for (const bool is_superlevel : {false, true}) {
    const auto other = is_superlevel ? Filtration::sublevel : Filtration::superlevel;
    if (images == 0 || filtration == other) continue;
    const double share = filtration == Filtration::both ? 0.5 : 1;
    add(values, task_of(op, is_superlevel), share, losses.data());
  }
  write_losses(losses.data(), images, op.reduction, op.loss.template as<T>());
}

// Calls f with the element type, which TypeScript makes one of two.
template <class F>
void visit_values(DType dtype, F&& f) {
  require(dtype == DType::f32 || dtype == DType::f64, "bettiMatching: float32 or float64");
  if (dtype == DType::f32) return f(TypeTag<float>{});
  f(TypeTag<double>{});
}

// Drops what the prediction has alone and is at most `length` long.
template <class T>
void drop_short(Matching& m, const Values<T>& values, const Task& task, int64_t item,
                double length) {
  if (!(length > 0)) return;
  for (Degree& degree : m.degree) {
    List<int32_t>& list = degree.unmatched[0];
    int64_t kept = 0;
    for (int64_t p = 0; p < list.size(); p += 2) {
      check_cancelled_at(p);
      const bool is_essential =
          values.images == 1 && task.essential && &degree == m.degree && p + 2 == list.size();
      const double birth = values.at(m, task, item, 0, list[p]);
      const double death = values.at(m, task, item, 0, list[p + 1]);
      if (!is_essential && std::abs(birth - death) <= length) continue;
      if (task.cycles) degree.unmatched_bars[0][kept / 2] = degree.unmatched_bars[0][p / 2];
      list[kept++] = list[p];
      list[kept++] = list[p + 1];
    }
    list.resize(kept);
    if (task.cycles) degree.unmatched_bars[0].resize(kept / 2);
  }
}

}  // namespace surprisal::betti_matching
