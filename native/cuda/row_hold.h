// Rows of one or two matrices, held in registers while something of the whole row is found, then
// turned into rows of another: softmax and norms, forward and backward. Each matrix is read once
// and written once, all loads of a row are in flight together, and 16 bytes an access at any
// alignment (cuda/rows.h): held as they lie, gathered by columns, written as they lie. In a matrix
// whose rows shift a slot of columns takes 4 shuffles and about 20 other instructions more. An
// operation is a struct:
//   using Element, State, Row;  static constexpr int kInputs, kPhases,
//   kLaneBlocks (of 256 threads an SM, where a few lanes have a row);
//   const Element* input[kInputs]; Element* output; int64_t rows, columns;
//   bool wants(phase)                              uniform; the last phase is always wanted
//   Row begin(row)                                 what is known of a row beforehand
//   State start()
//   void add<Phase>(state, row, part, slot, x)     x[kInputs][kPack<Element>]: one slot; any
//   element
//                                                  may lie outside of the row
//   void merge(state, other)                       the same bits for (a, b) as for (b, a)
//   Row finish<Phase>(number, row, state, leader)  the leader writes results of the row
//   void emit(row, part, slot, x, y)               y[kPack<Element>]
// The output may be the memory of an input, or null: then what is found of the rows is all.
#pragma once
#include "cuda/launch.h"
#include "cuda/row_hold_plan.h"
#include "cuda/row_team.h"
#include "cuda/rows.h"

namespace surprisal::cuda {

// The slots of a part that a thread has: first, first + step, ... They lie side by side in its
// team of `step` lanes, so that the first slot behind them is the first lane's next one.
struct HeldSlots {
  int first, step;
  int gathered;  // those below are columns that the thread gathers,
  int read;      // slots of memory that it holds: one more than it gathers, where rows shift,
  int emitted;   // and that it writes
  bool shifts;
};

template <class T>
inline __device__ HeldSlots slots_of_lane(const RowPart<T>& part, bool shifts, int lanes) {
  const int slots = part.columns().slots();
  return {lane_index() & (lanes - 1), lanes, slots, part.slots(), part.slots(), shifts};
}

// A warp of a block has 32 slots and a multiple of it, about as many as the others. `gathers`: else
// the part is only written.
template <class T>
inline __device__ HeldSlots slots_of_warp(const RowPart<T>& part, bool shifts, bool gathers) {
  const int slots = part.columns().slots(), lines = (slots + kWarp - 1) / kWarp;
  const int warps = block_size() / kWarp, warp = warp_index();
  const int begin = warp * lines / warps * kWarp, end = (warp + 1) * lines / warps * kWarp;
  HeldSlots out{begin + lane_index(), kWarp, end, end, end, shifts};
  if (warp + 1 == warps) {
    out.gathered = slots;
    out.read = out.emitted = part.slots();
  } else if (shifts && gathers) {
    ++out.read;
  }
  return out;
}

template <class Op, int Slots>
struct HeldRow {
  using T = typename Op::Element;
  using Real = accumulator_t<T>;
  using State = typename Op::State;
  using Row = typename Op::Row;
  Slot raw[Op::kInputs][Slots];

  // Slot `slot` of matrix i as the first one lies, which may be otherwise against 16 bytes.
  __device__ static Slot load_held(const Op& op, int i, int64_t row, const RowPart<T>& part,
                                   int slot) {
    if (i == 0) return load_slot(part, slot);
    const T* from = op.input[i] + row * op.columns + part.column + slot * kPack<T>;
    if (part.readable(slot) && reinterpret_cast<uintptr_t>(from) % 16 == 0)
      return load_once(reinterpret_cast<const Slot*>(from));
    RowPart<T> other = part;
    other.data = from - slot * kPack<T>;
    return load_elements(other, slot);
  }
  __device__ void read(const Op& op, int64_t row, const RowPart<T>& part, const HeldSlots& mine) {
    load_slots(part, mine.first, mine.step, mine.read, raw[0]);
#pragma unroll
    for (int i = 1; i < Op::kInputs; ++i) {
#pragma unroll
      for (int k = 0; k < Slots; ++k) {
        const int slot = mine.first + k * mine.step;
        raw[i][k] = slot < mine.read ? load_held(op, i, row, part, slot) : Slot{};
      }
    }
  }
  template <int Phase>
  __device__ State gather(const Op& op, const Row& row, int64_t number, const RowPart<T>& part,
                          const HeldSlots& mine) {
    State state = op.start();
    const RowPart<T> columns = part.columns();
#pragma unroll
    for (int k = 0; k < Slots; ++k) {
      const int slot = mine.first + k * mine.step;
      Real x[Op::kInputs][kPack<T>];
#pragma unroll
      for (int i = 0; i < Op::kInputs; ++i) {
        stay_packed(raw[i][k]);
        Slot here = raw[i][k];
        if (mine.shifts) {
          Slot after{};
          if (k + 1 < Slots) {
            after = raw[i][k + 1];
          } else if (slot + mine.step < mine.read) {
            // What no lane has room for; few lengths come to it.
            after = load_held(op, i, number, part, slot + mine.step);
          }
          here = joined<T>(here, slot_of_next(here, after, mine.step), part.begin);
        }
        widen<T>(here, x[i]);
      }
      if (slot < mine.gathered) op.template add<Phase>(state, row, columns, slot, x);
    }
    return state;
  }
  __device__ void emit(const Op& op, const Row& row, int64_t number, const RowPart<T>& part,
                       const HeldSlots& mine) {
    if (!op.output) return;
    T* const to = op.output + number * op.columns;
#pragma unroll
    for (int k = 0; k <= Slots; ++k) {
      const int slot = mine.first + k * mine.step;
      Real x[Op::kInputs][kPack<T>], y[kPack<T>];
      if (slot >= mine.emitted) continue;
#pragma unroll
      for (int i = 0; i < Op::kInputs; ++i) {
        if (k < Slots) {
          stay_packed(raw[i][k]);
          widen<T>(raw[i][k], x[i]);
        } else {
          widen<T>(load_held(op, i, number, part, slot), x[i]);
        }
      }
      op.emit(row, part, slot, x, y);
      store_slot(to, part, slot, y);
    }
  }
};

// The lanes of a warp that have a row: a power of two of them.
struct Lanes {
  int count;
  template <class State, class Merge, class Finish>
  __device__ auto finish(State state, Merge merge, Finish finish) const {
    for (int mask = count / 2; mask > 0; mask /= 2) merge(state, shuffle_state(state, mask));
    return finish(state, (lane_index() & (count - 1)) == 0);
  }
};

constexpr int kHoldBlock = 256;  // threads, most
// Blocks an SM that registers must leave room for. Two matrices of 16-bit numbers, and the weights
// beside them, want a few registers more than two blocks would leave.
template <class Op>
constexpr int hold_blocks() {
  constexpr bool kHalf = sizeof(typename Op::Element) == 2;
  if (Op::kInputs == 1 && Op::kLaneBlocks > 3 && sizeof(typename Op::Element) < 8) return 3;
  return Op::kLaneBlocks == 1 || (Op::kLaneBlocks == 2 && kHalf) ? 1 : 2;
}

// Of that many blocks those that an SM has threads for, 1024 in sm_75; and what is tuned to the
// last register of sm_80 and sm_90 needs a few more from sm_100 on.
constexpr int resident(int blocks) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  return blocks * kHoldBlock <= 1024 ? blocks : 1024 / kHoldBlock;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
  return blocks > 1 ? blocks - 1 : 1;
#else
  return blocks;
#endif
}

// A few lanes a row: a block's many rows hide what reductions wait for.
template <class Op>
__global__ void __launch_bounds__(kHoldBlock, resident(Op::kLaneBlocks))
    row_lanes_kernel(const Op op, const Lanes lanes) {
  using T = typename Op::Element;
  const int64_t thread = block_index() * kHoldBlock + thread_index();
  const int64_t number = thread / lanes.count;
  const bool exists = number < op.rows;
  RowPart<T> part;
  typename Op::Row row{};
  if (exists) {
    part = row_part(op.input[0], op.rows, op.columns, number);
    row = op.begin(number);
  }
  HeldRow<Op, kLaneSlots> held;
  const HeldSlots mine = slots_of_lane(part, rows_shift(op.input[0], op.columns), lanes.count);
  held.read(op, number, part, mine);
  const auto merge = [&](auto& into, const auto& from) { op.merge(into, from); };
  if (op.wants(0))
    row = lanes.finish(held.template gather<0>(op, row, number, part, mine), merge,
                       [&](const auto& state, bool leader) {
                         return op.template finish<0>(number, row, state, leader && exists);
                       });
  if constexpr (Op::kPhases > 1)
    row = lanes.finish(held.template gather<1>(op, row, number, part, mine), merge,
                       [&](const auto& state, bool leader) {
                         return op.template finish<1>(number, row, state, leader && exists);
                       });
  held.emit(op, row, number, part, mine);
}

// What a launch of row_block_kernel does with rows in parts.
template <class Op>
struct RowWork {
  int cluster = 1, parts = 1;
  int phase = -1;      // parts: the phase to gather, or the number of phases to write the output
  bool known = false;  // what an earlier phase found is in `found`
  typename Op::State* states = nullptr;  // (rows, parts)
  typename Op::Row* found = nullptr;     // (rows)
};

template <int Phase, class Op, class Held, class Team>
inline __device__ typename Op::Row found_by_team(const Op& op, Held& held, Team& team,
                                                 int64_t number, typename Op::Row row,
                                                 const RowPart<typename Op::Element>& part,
                                                 const HeldSlots& mine, typename Op::State* keep) {
  const auto state = held.template gather<Phase>(op, row, number, part, mine);
  return team.finish(
      state, [&](auto& into, const auto& from) { op.merge(into, from); },
      [&](const auto& merged, bool leader) {
        if (!keep) return op.template finish<Phase>(number, row, merged, leader);
        if (leader) store(keep, merged);
        return row;
      });
}

// A block or a cluster a row; or a block a part of a row, in a launch for every phase.
template <class Op>
__global__ void __launch_bounds__(kHoldBlock, hold_blocks<Op>())
    row_block_kernel(const Op op, const RowWork<Op> work) {
  using T = typename Op::Element;
  using Row = typename Op::Row;
  auto* memory = &shared<TeamMemory<typename Op::State, Row>>();
  BlockTeam<typename Op::State, Row> team(memory, work.cluster);
  const int pieces = work.cluster * work.parts;
  const int64_t number = block_index() / pieces;
  const int piece = static_cast<int>(block_index() - number * pieces);
  const RowPart<T> part = row_part(op.input[0], op.rows, op.columns, number, piece, pieces);
  Row row = work.known ? load(work.found + number) : op.begin(number);
  HeldRow<Op, kBlockSlots> held;
  const HeldSlots mine =
      slots_of_warp(part, rows_shift(op.input[0], op.columns), work.phase < Op::kPhases);
  held.read(op, number, part, mine);
  if (work.phase < 0) {
    if (op.wants(0)) row = found_by_team<0>(op, held, team, number, row, part, mine, nullptr);
    if constexpr (Op::kPhases > 1)
      row = found_by_team<1>(op, held, team, number, row, part, mine, nullptr);
  } else {
    typename Op::State* const keep = work.states + block_index();
    if (work.phase == 0) {
      found_by_team<0>(op, held, team, number, row, part, mine, keep);
      return;
    }
    if constexpr (Op::kPhases > 1) {
      if (work.phase == 1) {
        found_by_team<1>(op, held, team, number, row, part, mine, keep);
        return;
      }
    }
  }
  held.emit(op, row, number, part, mine);
  team.close();
}

// What the parts of a row gathered, by a warp.
template <int Phase, class Op>
__global__ void __launch_bounds__(kHoldBlock)
    row_merge_kernel(const Op op, const RowWork<Op> work) {
  const int64_t number = block_index() * (kHoldBlock / kWarp) + warp_index();
  const bool exists = number < op.rows;
  typename Op::State state = op.start();
  for (int i = lane_index(); exists && i < work.parts; i += kWarp)
    op.merge(state, load(work.states + number * work.parts + i));
  state = merge_lanes<kWarp>(state, [&](auto& into, const auto& from) { op.merge(into, from); });
  if (!exists || lane_index() > 0) return;
  const auto row = work.known ? load(work.found + number) : op.begin(number);
  store(work.found + number, op.template finish<Phase>(number, row, state, true));
}

template <class Op>
void launch_rows(const Op& op, const HoldPlan& plan, Stream& stream) {
  if (plan.lanes)
    return launch(stream, row_lanes_kernel<Op>, {plan.blocks, kHoldBlock}, op, Lanes{plan.lanes});
  RowWork<Op> work{plan.cluster, plan.parts};
  const Shape shape{plan.blocks, plan.threads,
                    int64_t(sizeof(TeamMemory<typename Op::State, typename Op::Row>)),
                    plan.cluster};
  if (plan.parts == 1) return launch(stream, row_block_kernel<Op>, shape, op, work);
  work.states = stream.scratch<typename Op::State>(op.rows * plan.parts);
  work.found = stream.scratch<typename Op::Row>(op.rows);
  const Shape merges{(op.rows + kHoldBlock / kWarp - 1) / (kHoldBlock / kWarp), kHoldBlock};
  for (work.phase = 0; work.phase < Op::kPhases; ++work.phase) {
    if (!op.wants(work.phase)) continue;
    launch(stream, row_block_kernel<Op>, shape, op, work);
    if (work.phase == 0) {
      launch(stream, row_merge_kernel<0, Op>, merges, op, work);
    } else if constexpr (Op::kPhases > 1) {
      launch(stream, row_merge_kernel<1, Op>, merges, op, work);
    }
    work.known = true;
  }
  if (op.output) launch(stream, row_block_kernel<Op>, shape, op, work);
}

}  // namespace surprisal::cuda
