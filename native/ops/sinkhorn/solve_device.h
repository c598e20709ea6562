// The kernels of a solve: one launch, a team of blocks a term (plan.h, solver_device.h).
#pragma once
#include "ops/sinkhorn/solver_device.h"

namespace surprisal::sinkhorn {

// By block `rank` of `size`.
template <class A, bool kProducts>
__device__ __forceinline__ void solve_term(const SolveWork& work, int64_t problem, Term term,
                                           int64_t rank, int64_t size) {
  unsigned char* memory = &cuda::shared<unsigned char>();
  auto& control = *reinterpret_cast<ControlMemory*>(memory);
  auto& tiles = *reinterpret_cast<Tiles<A>*>(memory + kControlBytes);
  A* held = nullptr;
  if (work.plan.held_shared) {
    const Place at = cuda::load(work.job.places + problem);
    held = reinterpret_cast<A*>(memory + kControlBytes + work.plan.tile_bytes);
    const Scores<A> s = scores_of<A>(work.job, at, term, false);
    hold(s, tiles, 0, s.rows, held, s.columns | 1);
  }
  Team team;
  team.rank = static_cast<int32_t>(rank);
  team.size = static_cast<int32_t>(size);
  const int64_t index = problem * 3 + static_cast<int>(term);
  team.counter = work.counters + index;
  team.stride = static_cast<int32_t>(work.stride);
  team.parts = static_cast<Part*>(work.parts) + index * 2 * work.stride;
  team.segments = control.segments;
  Solver<A, kProducts> solver(work, problem, term, team, control, tiles, held);
  solver.run(work.outcomes + index);
}

template <class A, bool kProducts>
__global__ void __launch_bounds__(kMostThreads, 1)
    sinkhorn_solve_kernel(const __grid_constant__ SolveWork work) {
  const Job& job = work.job;
  const int64_t each = work.plan.blocks_each(), cross = work.plan.cross, self = work.plan.self;
  const int64_t problem = cuda::block_index() / each, place = cuda::block_index() % each;
  const Facts* facts = job.facts + problem;
  if (cuda::load(&facts->bad) || (job.cancels() && !cuda::load(&facts->differs))) return;
  if (!is_own<A>(job, problem)) return;
  // One call, which is long.
  const bool in_turn = work.plan.in_turn, own = place < cross;
  const int first = own ? 0 : place < cross + self ? 1 : 2, last = own && in_turn ? 2 : first;
  const int64_t rank = own ? place : (place - cross) % self;
  for (int term = first; term <= last; ++term)
    solve_term<A, kProducts>(work, problem, static_cast<Term>(term), rank, own ? cross : self);
}

// Each block some rows of each term.
template <class A>
__global__ void __launch_bounds__(kMostThreads, 1)
    sinkhorn_hold_kernel(const __grid_constant__ Job job, int64_t blocks) {
  auto& tiles = cuda::shared<Tiles<A>>();
  const int64_t terms = job.debias ? 3 : 1, index = cuda::block_index() / blocks;
  const Place at = cuda::load(job.places + index / terms);
  const Term term = static_cast<Term>(index % terms);
  if (cuda::load(&job.facts[index / terms].bad) || !is_own<A>(job, index / terms)) return;
  const Scores<A> s = scores_of<A>(job, at, term, false);
  const int64_t rows = cuda::block_size() / cuda::kWarp * kWarpRows;
  const int64_t begin = cuda::block_index() % blocks * rows;
  if (begin >= s.rows) return;
  hold(s, tiles, begin, begin + rows < s.rows ? begin + rows : s.rows,
       in_type<A>(job.held, job.held_wide) + held_of(at, term), s.columns);
}

template <class A>
void hold_scores(const Job& job, int64_t most, cuda::Stream& stream) {
  constexpr int64_t kRows = kMostThreads / cuda::kWarp * kWarpRows;
  const int64_t blocks = ceil_div(most, kRows), terms = job.debias ? 3 : 1;
  cuda::launch(stream, sinkhorn_hold_kernel<A>,
               {job.batch * terms * blocks, kMostThreads, int64_t{sizeof(Tiles<A>)}}, job, blocks);
}

template <class A, bool kProducts>
void launch_solve(const SolveWork& work, cuda::Stream& stream) {
  static_assert(sizeof(Tiles<A>) == tile_bytes(sizeof(A)), "plan.h");
  const Launches& plan = work.plan;
  cuda::Shape shape{work.job.batch * plan.blocks_each(), plan.threads, plan.shared};
  shape.together = plan.together;
  cuda::launch(stream, sinkhorn_solve_kernel<A, kProducts>, shape, work);
}
template <class A>
void run_solve(const SolveWork& work, cuda::Stream& stream) {
  launch_solve<A, false>(work, stream);
}

}  // namespace surprisal::sinkhorn
