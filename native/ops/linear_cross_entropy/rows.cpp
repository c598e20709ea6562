#include "ops/linear_cross_entropy/rows.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

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
          throw Error(Code::out_of_range,
                      std::string(name) + ": expected target in [0, " +
                          (shard ? "V" : std::to_string(op.classes)) + ") or ignoreIndex " +
                          std::to_string(op.ignore_index) + ", got " + std::to_string(c) +
                          " at row " + std::to_string(from));
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

void check_linear(const Linear& op, const char* name) {
  const auto fact = [&](bool ok) { require(ok, name); };
  fact(op.batch >= 0 && op.length >= 0 && op.width >= 0 && op.classes >= 0);
  fact(op.shift >= 0 && (op.shift < op.length || op.length == 0));
  fact(is_float(op.x.dtype));
  fact(op.x.size == op.batch * op.length * op.width);
  fact(op.weight.size == op.classes * op.width && op.weight.dtype == op.x.dtype);
  fact(!op.bias || (op.bias.size == op.classes && op.bias.dtype == op.x.dtype));
}

void check_targets(const Scored& op, const char* name) {
  require(op.target.size == op.batch * op.length, name);
  const int64_t scored = op.batch * (op.length - op.shift);
  require(!op.row_sums || op.row_sums.size == scored * kRowState, name);
}

void check_gradients(const Linear& op, const Gradients& to, const char* name) {
  const auto like = [&](const View& gradient, int64_t size) {
    require(!gradient || (gradient.size == size && gradient.dtype == op.x.dtype), name);
  };
  like(to.dx, op.x.size);
  like(to.dbias, op.classes);
  if (!to.add_to_dweight) return like(to.dweight, op.weight.size);
  require(to.dweight.dtype == DType::f32 && to.dweight.size == op.weight.size, name);
}

void require_workspace(const char* name, int64_t minimum, int64_t given) {
  if (given >= minimum) return;
  throw Error(Code::invalid_value,
              std::string(name) + ": expected workspaceBytes to be >= " + std::to_string(minimum) +
                  " for these shapes, got " + std::to_string(given));
}

std::string text_of(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", x);
  return std::isnan(x) ? "NaN" : text;
}

double value_of(const View& view, int64_t i) {
  double x = 0;
  visit_float(view.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_same_v<T, double>) {
      x = view.as<T>()[i];
    } else {
      x = to_float(view.as<T>()[i]);
    }
  });
  return x;
}

void set_value(const View& view, int64_t i, double x) {
  visit_float(view.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_same_v<T, double>) {
      view.as<T>()[i] = x;
    } else {
      view.as<T>()[i] = from_float<T>(static_cast<float>(x));
    }
  });
}

void fill_zero(const View& view) {
  if (view) std::memset(view.data, 0, static_cast<size_t>(view.size * size_of(view.dtype)));
}

}  // namespace surprisal::linear_cross_entropy
