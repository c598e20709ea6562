// How the rows of a matrix are gone over by operations that first gather something of a whole row
// and then, if they write a matrix too, make each element from what was gathered: softmax, losses,
// norms. One read of the matrix and one write, whatever the operation. An operation is a struct:
//   using Element, Context, State, Row;  const Element* input; Element* output (null: no second
//     pass); int64_t rows, columns;
//   Context begin(row, part)         what a thread wants to know of the row; loads only, it is early
//   bool reads(context)              false: no element of the row is read
//   State start()
//   void add(state, context, part, slot, x)     one slot (of kPack<Element> numbers, any of which may
//                                    lie outside of the row: mask_slot) joins the state
//   void merge(state, other)         see row_team.h
//   bool known()                     true: no first pass, finish() needs no state
//   static constexpr int kUnroll     slots whose arithmetic overlaps in rows_in_shared
//   Row finish(row, part number, context, state, leader)  the leader writes results of the row
//   void emit(row, context, part, slot, x)      x becomes the output
// The input may be read twice, and beside its rows: the output must be other memory.
#pragma once
#include "cuda/row_team.h"
#include "cuda/rows.h"

namespace surprisal::cuda {

// Short rows, held in registers: `Lanes` lanes have a row of up to Lanes x Slots slots. All loads of
// a row are in flight at once, and a block's many warps hide what reductions wait for.
template <int Lanes, int Slots, class Op>
inline __device__ void rows_in_registers(const Op& op) {
  using T = typename Op::Element;
  using Real = accumulator_t<T>;
  LaneTeam<Lanes> team;
  const int64_t row = block_index() * (block_size() / Lanes) + thread_index() / Lanes;
  const bool exists = row < op.rows;
  RowPart<T> part;
  typename Op::Context context{};
  if (exists) {
    part = row_part(op.input, op.rows, op.columns, row);
    context = op.begin(row, part);
  }
  const int slots = exists && op.reads(context) ? part.slots() : 0;
  Slot raw[Slots];
#pragma unroll
  for (int k = 0; k < Slots; ++k) {
    const int slot = team.index() + k * Lanes;
    if (slot < slots) raw[k] = load_slot(part, slot);
  }
  typename Op::State state = op.start();
#pragma unroll
  for (int k = 0; k < Slots; ++k) {
    const int slot = team.index() + k * Lanes;
    Real x[kPack<T>];
    if (slot < slots && !op.known()) {
      widen<T>(raw[k], x);
      op.add(state, context, part, slot, x);
    }
  }
  const auto found = team.finish(
      state, [&](auto& into, const auto& from) { op.merge(into, from); },
      [&](const auto& merged, bool leader) {
        return op.finish(row, 0, context, merged, leader && exists);
      });
  if (op.output == nullptr || !exists) return;
  T* const to = op.output + row * op.columns;
#pragma unroll
  for (int k = 0; k < Slots; ++k) {
    const int slot = team.index() + k * Lanes;
    Real x[kPack<T>] = {};
    if (slot < part.slots()) {
      stay_packed(raw[k]);
      if (slot < slots) widen<T>(raw[k], x);
      op.emit(found, context, part, slot, x);
      store_slot(to, part, slot, x);
    }
  }
}

// How rows_in_shared is launched.
struct SharedRows {
  int cluster = 1;    // blocks a row, each of which has a part of it
  int parts = 1;      // or blocks a row that know nothing of each other; a block's unit is a part
  int units_each = 1; // units a block takes in turn
  int chunk = 1;      // slots of a thread between two looks at the copies in flight
};
constexpr int kChunks = 4;  // of a thread's slots

template <class Op>
constexpr int64_t shared_bytes_of_team() {
  using Memory = TeamMemory<typename Op::State, typename Op::Row>;
  return (int64_t(sizeof(Memory)) + 15) / 16 * 16;
}
// `slots`: the most that a part of a row has.
template <class Op>
constexpr int64_t shared_bytes(int64_t slots) {
  return shared_bytes_of_team<Op>() + 16 * slots;
}

inline __device__ void wait_for_copies(int in_flight) {
  switch (in_flight) {
    case 0: return copy_async_wait<0>();
    case 1: return copy_async_wait<1>();
    case 2: return copy_async_wait<2>();
    default: return copy_async_wait<3>();
  }
}

// Longer rows, held in the shared memory of a block or of a cluster. Asynchronous copies of 16 bytes
// bring a thread's slots to a place that is this thread's alone: nothing needs a barrier but the
// reduction, and where a slot has been used for the last time the next row's is asked for.
template <class Op>
inline __device__ void rows_in_shared(const Op& op, const SharedRows& work) {
  using T = typename Op::Element;
  using Real = accumulator_t<T>;
  using Context = typename Op::Context;
  using Memory = TeamMemory<typename Op::State, typename Op::Row>;
  Memory& memory = shared<Memory>();
  auto* const mine = reinterpret_cast<Slot*>(reinterpret_cast<unsigned char*>(&memory) +
                                                shared_bytes_of_team<Op>());
  BlockTeam<typename Op::State, typename Op::Row> team(&memory, work.cluster);
  const int threads = block_size();
  const int64_t units = op.rows * work.parts;
  const int64_t first = block_index() / work.cluster * work.units_each;
  const int64_t end = first + work.units_each < units ? first + work.units_each : units;
  const bool second = op.output != nullptr;

  const auto part_of = [&](int64_t unit) {
    const int64_t row = work.parts == 1 ? unit : unit / work.parts;
    const int part = work.parts == 1 ? team.rank() : static_cast<int>(unit - row * work.parts);
    return row_part(op.input, op.rows, op.columns, row, part, work.cluster * work.parts);
  };
  const auto fetch = [&](const RowPart<T>& part, int slots, int chunk) {
    for (int j = 0; j < work.chunk; ++j) {
      const int slot = thread_index() + (chunk * work.chunk + j) * threads;
      if (slot < slots && part.readable(slot))
        copy_async16(mine + slot, part.data + slot * kPack<T>, true);
    }
    copy_async_commit();
  };
  const auto fetched = [&](const RowPart<T>& part, int slot) {
    return part.readable(slot) ? load(mine + slot) : load_slot(part, slot);
  };

  RowPart<T> next = part_of(first);
  Context next_context = op.begin(work.parts == 1 ? first : first / work.parts, next);
  int next_slots = op.reads(next_context) ? next.slots() : 0;
  for (int k = 0; k < kChunks; ++k) fetch(next, next_slots, k);
  for (int64_t unit = first; unit < end; ++unit) {
    const int64_t row = work.parts == 1 ? unit : unit / work.parts;
    const RowPart<T> part = next;
    const Context context = next_context;
    const int slots = next_slots;
    const bool more = unit + 1 < end;
    if (more) {
      next = part_of(unit + 1);
      next_context = op.begin(work.parts == 1 ? unit + 1 : (unit + 1) / work.parts, next);
    }
    typename Op::State state = op.start();
    for (int k = 0; k < kChunks; ++k) {
      wait_for_copies(second ? kChunks - 1 - k : kChunks - 1);
#pragma unroll(Op::kUnroll)
      for (int j = 0; j < work.chunk; ++j) {
        const int slot = thread_index() + (k * work.chunk + j) * threads;
        Real x[kPack<T>];
        if (slot < slots && !op.known()) {
          widen<T>(fetched(part, slot), x);
          op.add(state, context, part, slot, x);
        }
      }
      if (k == 0) next_slots = more && op.reads(next_context) ? next.slots() : 0;
      if (!second) fetch(next, next_slots, k);
    }
    const auto found = team.finish(
        state, [&](auto& into, const auto& from) { op.merge(into, from); },
        [&](const auto& merged, bool leader) {
          const int part_number = static_cast<int>(unit - row * work.parts);
          return op.finish(row, part_number, context, merged, leader);
        });
    if (!second) continue;
    T* const to = op.output + row * op.columns;
    for (int k = 0; k < kChunks; ++k) {
#pragma unroll(Op::kUnroll)
      for (int j = 0; j < work.chunk; ++j) {
        const int slot = thread_index() + (k * work.chunk + j) * threads;
        Real x[kPack<T>] = {};
        if (slot < part.slots()) {
          if (slot < slots) widen<T>(fetched(part, slot), x);
          op.emit(found, context, part, slot, x);
          store_slot(to, part, slot, x);
        }
      }
      fetch(next, next_slots, k);
    }
  }
  team.close();
}

}  // namespace surprisal::cuda
