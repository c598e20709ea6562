#include "ops/linear_cross_entropy/rows.h"

#include <cstring>

namespace surprisal::linear_cross_entropy {

Rows::Rows(const Scored& op, const char* name, bool shard, int64_t vocab_offset)
    : row(op.batch * op.length),
      position(op.batch * op.length),
      target(op.batch * op.length),
      source(op.batch * op.length) {
  const int64_t scored = op.length - op.shift;
  visit_index(op.target.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* y = op.target.as<T>();
    for (int64_t b = 0; b < op.batch; ++b) {
      for (int64_t t = 0; t < scored; ++t) {
        const int64_t from = b * op.length + t + op.shift;
        const int64_t c = y[from];
        if (c == op.ignore_index) continue;
        if (c < 0 || (!shard && c >= op.classes)) {
          refuse_target(name, c, from, shard ? 0 : op.classes, op.ignore_index);
        }
        row[count] = b * op.length + t;
        position[count] = b * scored + t;
        const int64_t own = c - vocab_offset;
        target[count] = own >= 0 && own < op.classes ? own : -1;
        source[count] = from;
        ++count;
      }
    }
  });
}

States::States(const View& saved, const Rows& rows)
    : saved_(saved), rows_(rows), kept_(rows.count) {}

void States::load() {
  const auto* from = reinterpret_cast<const RowState*>(saved_.as<double>());
  for (int64_t n = 0; n < rows_.count; ++n) kept_[n] = from[rows_.position[n]];
}

void States::save() {
  if (!saved_) return;
  auto* to = reinterpret_cast<RowState*>(saved_.as<double>());
  for (int64_t n = 0; n < rows_.count; ++n) to[rows_.position[n]] = kept_[n];
}

void fill_zero(const View& view) {
  if (view) std::memset(view.data, 0, static_cast<size_t>(view.size * size_of(view.dtype)));
}

}  // namespace surprisal::linear_cross_entropy
