// What the faults of a device say: see refusals.h.
#include "ops/sinkhorn/faults.h"

#include <cstring>

#include "cuda/runtime.h"
#include "ops/sinkhorn/refusals.h"

namespace surprisal::sinkhorn {
namespace {

using cuda::Fault;

double double_of(int64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
int32_t caller_of(int64_t x) { return static_cast<int32_t>(x & 7); }

template <bool kSecond>
void raise_weight(const Fault& f) {
  refuse_weight(caller_of(f.a), kSecond, double_of(f.value), f.row);
}
template <bool kSecond>
void raise_none(const Fault& f) {
  refuse_no_mass(caller_of(f.a), kSecond, f.b);
}
void raise_masses(const Fault& f) {
  refuse_masses(caller_of(f.b), double_of(f.value), double_of(f.a), f.b & 8 ? -1 : f.row);
}
template <bool kSecond>
void raise_point(const Fault& f) {
  refuse_point(caller_of(f.a), kSecond, double_of(f.value), f.row);
}
template <bool kSecond>
void raise_label(const Fault& f) {
  refuse_label(caller_of(f.a), kSecond, static_cast<int32_t>(f.value), f.b, f.row);
}
void raise_label_cost(const Fault& f) { refuse_label_cost(caller_of(f.a), double_of(f.value)); }
void raise_cost(const Fault& f) {
  const int64_t m = f.a, n = f.b >> 4, at = f.row % (n * m);
  refuse_cost(caller_of(f.b), double_of(f.value), at / m, at % m, f.b & 8 ? f.row / (n * m) : -1);
}
void raise_schedule(const Fault& f) { refuse_schedule(caller_of(f.a), double_of(f.value), f.b); }

}  // namespace

Faults faults_of(cuda::Stream& stream) {
  Faults faults;
  faults.weight[0] = stream.fault_site(raise_weight<false>);
  faults.none[0] = stream.fault_site(raise_none<false>);
  faults.weight[1] = stream.fault_site(raise_weight<true>);
  faults.none[1] = stream.fault_site(raise_none<true>);
  faults.masses = stream.fault_site(raise_masses);
  faults.points[0] = stream.fault_site(raise_point<false>);
  faults.points[1] = stream.fault_site(raise_point<true>);
  faults.labels[0] = stream.fault_site(raise_label<false>);
  faults.labels[1] = stream.fault_site(raise_label<true>);
  faults.label_cost = stream.fault_site(raise_label_cost);
  faults.cost = stream.fault_site(raise_cost);
  faults.schedule = stream.fault_site(raise_schedule);
  return faults;
}

}  // namespace surprisal::sinkhorn
