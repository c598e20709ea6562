// Loops over arrays of one shape and K different sets of strides (in elements). Axes of size 1 are
// dropped and neighbours that run on in every array are merged, which leaves few and long axes.
#pragma once
#include "core/view.h"

namespace surprisal {

template <int K>
struct Axis {
  int64_t n;
  int64_t stride[K];
};

template <int K>
struct Axes {
  Axis<K> axis[kMaxRank + 1];
  int rank = 0;

  // Axes are given from the outermost inwards.
  void add(const Axis<K>& next) {
    if (next.n == 1) return;
    bool joins = rank > 0;
    for (int k = 0; k < K && joins; ++k)
      joins = axis[rank - 1].stride[k] == next.n * next.stride[k];
    if (!joins) {
      axis[rank++] = next;
    } else {
      const int64_t n = axis[rank - 1].n * next.n;
      axis[rank - 1] = next;
      axis[rank - 1].n = n;
    }
  }
  int64_t count(int outer) const {
    int64_t n = 1;
    for (int i = 0; i < outer; ++i) n *= axis[i].n;
    return n;
  }
  // Calls f(offsets) for items [begin, end) of the row-major product of the first `outer` axes.
  template <class F>
  void walk(int outer, int64_t begin, int64_t end, F&& f) const {
    int64_t index[kMaxRank + 1] = {}, offset[K] = {}, left = begin;
    for (int i = outer - 1; i >= 0; --i) {
      index[i] = left % axis[i].n;
      left /= axis[i].n;
      for (int k = 0; k < K; ++k) offset[k] += index[i] * axis[i].stride[k];
    }
    for (int64_t item = begin; item < end; ++item) {
      f(offset);
      for (int i = outer - 1; i >= 0; --i) {
        for (int k = 0; k < K; ++k) offset[k] += axis[i].stride[k];
        if (++index[i] < axis[i].n) break;
        for (int k = 0; k < K; ++k) offset[k] -= axis[i].n * axis[i].stride[k];
        index[i] = 0;
      }
    }
  }
};

}  // namespace surprisal
