// How the rows of a matrix are gone over by operations that first gather something of a whole row
// and then, if they write a matrix too, make each element from what was gathered: softmax, losses,
// norms. One read of the matrix and one write, whatever the operation. An operation is a struct:
//   using Element, Context, State, Row;  const Element* input; Element* output (null: no second
//     pass); int64_t rows, columns;
//   Context begin(row, part)         what a thread wants to know of the row; loads only, it is
//   early bool reads(context)              false: no element of the row is read State start() void
//   add<edge>(state, context, part, slot, x)  one slot of kPack<Element> columns joins the
//                                    state; of an edge some are not of the row: mask_slot
//   void merge(state, other)         see row_team.h
//   bool known()                     true: no first pass, finish() needs no state
//   static constexpr int kUnroll     slots whose arithmetic overlaps in rows_in_shared
//   Row finish(row, part number, context, state, leader)  the leader writes results of the row
//   void emit<edge>(row, context, part, slot, x)   x becomes the output
// begin and add get a part's columns(), emit the part as it lies (cuda/rows.h): a slot of columns
// that rows shift takes 16 bytes more from a neighbour (4 shuffles, or one read of shared memory)
// and about 20 instructions. What is left of a row beyond whole slots of columns, and the edges of
// what is written, are read once more: the output must be other memory than the input.
#pragma once
#include "cuda/row_team.h"
#include "cuda/rows.h"

namespace surprisal::cuda {

// The edges of a part, which are its first slot and those from `rest` on, three at most; or all of
// it where the output lies otherwise against 16 bytes than the input: element by element, from
// global memory.
template <class Op>
inline __device__ void emit_elements(const Op& op, const typename Op::Row& row,
                                     const typename Op::Context& context,
                                     const RowPart<typename Op::Element>& part, bool reads,
                                     bool all, int rest, int index, int size,
                                     typename Op::Element* to) {
  using T = typename Op::Element;
  const int begin = part.whole_begin();
  if (!all && index >= begin) index += (rest > begin ? rest : begin) - begin;
  for (int slot = index; slot < part.slots(); slot = all ? slot + size : part.slots()) {
    accumulator_t<T> x[kPack<T>] = {};
    if (reads) widen<T>(load_elements(part, slot), x);
    op.template emit<true>(row, context, part, slot, x);
    store_elements(to, part, slot, x);
  }
}

// What is left of a part beyond whole slots of columns joins the state of the team's first thread.
template <class Op>
inline __device__ void add_rest(const Op& op, const typename Op::Context& context,
                                const RowPart<typename Op::Element>& columns,
                                typename Op::State& state) {
  using T = typename Op::Element;
  const int rest = columns.whole_end();
  if (rest == columns.slots()) return;
  accumulator_t<T> x[kPack<T>];
  widen<T>(load_elements(columns, rest), x);
  op.template add<true>(state, context, columns, rest, x);
}

// Short rows, held in registers: `Lanes` lanes have a row of up to Lanes x Slots whole slots of
// columns. All loads of a row are in flight at once, and a block's many warps hide what reductions
// wait for.
template <int Lanes, int Slots, class Op>
inline __device__ void rows_in_registers(const Op& op) {
  using T = typename Op::Element;
  using Real = accumulator_t<T>;
  LaneTeam<Lanes> team;
  const int64_t row = block_index() * (block_size() / Lanes) + thread_index() / Lanes;
  const bool exists = row < op.rows, shifts = rows_shift(op.input, op.columns);
  RowPart<T> part;
  typename Op::Context context{};
  if (exists) {
    part = row_part(op.input, op.rows, op.columns, row);
    context = op.begin(row, part.columns());
  }
  const RowPart<T> columns = part.columns();
  const bool reads = exists && op.reads(context);
  const int first = team.index(), whole = columns.whole_end();
  Slot raw[Slots + 1];  // of the last only the first lane's may be in use
  load_slots(part, first, Lanes, reads ? part.beneath(whole) : 0, raw);
  typename Op::State state = op.start();
  Real x[kPack<T>];
  if (reads && !op.known() && first == 0) add_rest(op, context, columns, state);
#pragma unroll
  for (int k = 0; k < Slots; ++k) {
    if (op.known()) continue;
    const int slot = first + k * Lanes;
    Slot here = raw[k];
    if (shifts) here = joined<T>(here, slot_of_next(here, raw[k + 1], Lanes), part.begin);
    if (reads && slot < whole) {
      widen<T>(here, x);
      op.template add<false>(state, context, columns, slot, x);
    }
  }
  const auto found = team.finish(
      state, [&](auto& into, const auto& from) { op.merge(into, from); },
      [&](const auto& merged, bool leader) {
        return op.finish(row, 0, context, merged, leader && exists);
      });
  if (op.output == nullptr || !exists) return;
  T* const to = op.output + row * op.columns;
  const bool alike = lies_alike(to, part);
#pragma unroll
  for (int k = 0; k <= Slots; ++k) {
    const int slot = first + k * Lanes;
    if (alike && part.whole(slot)) {
      stay_packed(raw[k]);
      widen<T>(raw[k], x);
      op.template emit<false>(found, context, part, slot, x);
      store_once(reinterpret_cast<Slot*>(to + part.column + slot * kPack<T>), narrow<T>(x));
    }
  }
  emit_elements(op, found, context, part, reads, !alike, part.whole_end(), first, Lanes, to);
}

// How rows_in_shared is launched.
struct SharedRows {
  int cluster = 1;     // blocks a row, each of which has a part of it
  int parts = 1;       // or blocks a row that know nothing of each other; a block's unit is a part
  int units_each = 1;  // units a block takes in turn
  int chunk = 1;       // slots of a thread between two looks at the copies in flight
};
constexpr int kChunks = 4;  // of a thread's slots

template <class Op>
constexpr int64_t shared_bytes_of_team() {
  using Memory = TeamMemory<typename Op::State, typename Op::Row>;
  return (int64_t(sizeof(Memory)) + 15) / 16 * 16;
}
// `places`: those of the slots that a part of a row has at most, see SharedPass.
template <class Op>
constexpr int64_t shared_bytes(int64_t places) {
  return shared_bytes_of_team<Op>() + 16 * places;
}

inline __device__ void wait_for_copies(int in_flight) {
  switch (in_flight) {
    case 0:
      return copy_async_wait<0>();
    case 1:
      return copy_async_wait<1>();
    case 2:
      return copy_async_wait<2>();
    default:
      return copy_async_wait<3>();
  }
}

// Longer rows, held in the shared memory of a block or of a cluster. Asynchronous copies of 16
// bytes bring a thread's slots to places of its own, side by side with those of its warp: nothing
// needs a barrier of the block but the reduction, and where a slot has been used for the last time
// the next row's is asked for. Behind each 32 slots is a 33rd place, where rows that shift keep
// what the last lane's next slot is.
template <class Op>
class SharedPass {
  using T = typename Op::Element;
  using Real = accumulator_t<T>;
  using Memory = TeamMemory<typename Op::State, typename Op::Row>;

  // A row or a part of one, on its way or there.
  struct Unit {
    RowPart<T> part;
    typename Op::Context context;
    bool reads;

    __device__ int whole() const { return (part.end - part.begin) / kPack<T>; }
    __device__ bool shifted() const { return part.begin > 0; }
  };

 public:
  __device__ SharedPass(const Op& op, const SharedRows& work)
      : op_(op),
        work_(work),
        places_(reinterpret_cast<Slot*>(reinterpret_cast<unsigned char*>(&shared<Memory>()) +
                                        shared_bytes_of_team<Op>())),
        team_(&shared<Memory>(), work.cluster) {}

  __device__ void run() {
    const int64_t units = op_.rows * work_.parts;
    const int64_t first = block_index() / work_.cluster * work_.units_each;
    const int64_t end = first + work_.units_each < units ? first + work_.units_each : units;
    const bool second = op_.output != nullptr;
    Unit next = begin(first);
    next.reads = op_.reads(next.context);
    for (int k = 0; k < kChunks; ++k) fetch(next, k);
    for (int64_t u = first; u < end; ++u) {
      const Unit unit = next;
      if (u + 1 < end) next = begin(u + 1);
      typename Op::State state = op_.start();
      for (int k = 0; k < kChunks; ++k) {
        // Between a copy and its use the thread has asked for the other chunks alone.
        wait_for_copies(second ? kChunks - 1 - k : kChunks - 1);
        if (unit.shifted()) sync_warp();  // the neighbours' slots are there
        if (unit.reads && !op_.known()) add(unit, k, state);
        if (k == 0) next.reads = u + 1 < end && op_.reads(next.context);
        if (second) continue;             // else the reduction's barrier stands between
        if (unit.shifted()) sync_warp();  // the neighbours have read this thread's slots
        fetch(next, k);
      }
      if (unit.reads && !op_.known() && thread_index() == 0)
        add_rest(op_, unit.context, unit.part.columns(), state);
      const auto found = team_.finish(
          state, [&](auto& into, const auto& from) { op_.merge(into, from); },
          [&](const auto& merged, bool leader) {
            const int part = static_cast<int>(u % work_.parts);
            return op_.finish(row_of(u), part, unit.context, merged, leader);
          });
      if (!second) continue;
      T* const to = op_.output + row_of(u) * op_.columns;
      const bool alike = lies_alike(to, unit.part);
      for (int k = 0; k < kChunks; ++k) {
        if (alike) emit(unit, k, found, to + unit.part.column);
        fetch(next, k);
      }
      const int kept = kChunks * work_.chunk * block_size(), whole = unit.part.whole_end();
      emit_elements(op_, found, unit.context, unit.part, unit.reads, !alike,
                    kept < whole ? kept : whole, thread_index(), block_size(), to);
    }
    team_.close();
  }

 private:
  __device__ int64_t row_of(int64_t u) const { return work_.parts == 1 ? u : u / work_.parts; }
  __device__ Unit begin(int64_t u) const {
    Unit unit;
    const int number = work_.parts == 1 ? team_.rank() : static_cast<int>(u % work_.parts);
    unit.part =
        row_part(op_.input, op_.rows, op_.columns, row_of(u), number, work_.cluster * work_.parts);
    unit.context = op_.begin(row_of(u), unit.part.columns());
    unit.reads = false;  // known once the context has come from memory
    return unit;
  }
  // Slot i of a part, as it lies and of columns, is this thread's if i is its index in the block,
  // or that and a multiple of the block's size.
  __device__ int slot_of(int chunk, int j) const {
    return thread_index() + (chunk * work_.chunk + j) * block_size();
  }
  __device__ Slot* place_of(int chunk, int j) const {
    return places_ + (thread_index() + warp_index()) +
           (chunk * work_.chunk + j) * (block_size() + block_size() / kWarp);
  }
  // What reaches beyond the matrix is not copied: column_slot does without.
  __device__ void fetch(const Unit& unit, int chunk) const {
    const int beneath = unit.reads ? unit.part.beneath(unit.whole()) : 0;
    const int end = beneath < unit.part.last ? beneath : unit.part.last;
    const bool last = unit.shifted() && lane_index() == kWarp - 1;
    for (int j = 0; j < work_.chunk; ++j) {
      const int i = slot_of(chunk, j);
      const T* const from = unit.part.data + i * kPack<T>;
      if (i >= unit.part.first && i < end) copy_async16(place_of(chunk, j), from, true);
      if (last && i + 1 < end) copy_async16(place_of(chunk, j) + 1, from + kPack<T>, true);
    }
    copy_async_commit();
  }
  __device__ Slot column_slot(const Unit& unit, int i, const Slot* place) const {
    if (!unit.shifted()) return load(place);
    if (i < unit.part.first || i + 1 >= unit.part.last)
      return load_elements(unit.part.columns(), i);
    return joined<T>(load(place), load(place + 1), unit.part.begin);
  }
  __device__ void add(const Unit& unit, int chunk, typename Op::State& state) const {
    const int slots = unit.whole();
    const RowPart<T> columns = unit.part.columns();
#pragma unroll(Op::kUnroll)
    for (int j = 0; j < work_.chunk; ++j) {
      const int i = slot_of(chunk, j);
      if (i < slots) {
        Real x[kPack<T>];
        widen<T>(column_slot(unit, i, place_of(chunk, j)), x);
        op_.template add<false>(state, unit.context, columns, i, x);
      }
    }
  }
  __device__ void emit(const Unit& unit, int chunk, const typename Op::Row& found, T* to) const {
    const int begin = unit.part.whole_begin(), end = unit.part.whole_end();
#pragma unroll(Op::kUnroll)
    for (int j = 0; j < work_.chunk; ++j) {
      const int i = slot_of(chunk, j);
      if (i >= begin && i < end) {
        Real x[kPack<T>] = {};
        if (unit.reads) widen<T>(load(place_of(chunk, j)), x);
        op_.template emit<false>(found, unit.context, unit.part, i, x);
        store_once(reinterpret_cast<Slot*>(to + i * kPack<T>), narrow<T>(x));
      }
    }
  }

  const Op& op_;
  const SharedRows work_;
  Slot* const places_;
  BlockTeam<typename Op::State, typename Op::Row> team_;
};

template <class Op>
inline __device__ void rows_in_shared(const Op& op, const SharedRows& work) {
  SharedPass<Op>(op, work).run();
}

}  // namespace surprisal::cuda
