// `gradient: 'unrolled'`: plain Sinkhorn steps whose potentials are recorded, so that the gradient is
// that of the value after them, converged or not. What the operations that offer it share.
import type { Needs } from './autograd.js';
import { expectOnCpu, expectOneOf, fail } from './expect.js';
import { native } from './native.js';
import { sizeOf } from './shape.js';
import { empty, type Tensor } from './tensor.js';
import { type IterationOptions, iterationFields, type Layout } from './transport.js';

export interface UnrolledGradient {
  /**
   * 'envelope' (default): the gradient at the optimum, which the iterations are to reach. 'unrolled':
   * that of the value where the iterations end, through all of them: plain steps from g = 0 or
   * `init`, not annealed nor over-relaxed, until the tolerance or `maxIterations`, here 100, which is
   * held constant. Memory: 16 bytes an iteration and point, thrice if debiased, of `workspaceBytes`.
   */
  gradient?: 'envelope' | 'unrolled';
}

type Options = IterationOptions & UnrolledGradient;

export const isUnrolled = ({ gradient }: UnrolledGradient) => gradient === 'unrolled';

export function checkGradient(
  op: string,
  name: string,
  t: Tensor,
  options: UnrolledGradient & { solver?: string },
): void {
  const { gradient = 'envelope', solver = 'auto' } = options;
  expectOneOf(op, 'gradient', gradient, ['envelope', 'unrolled'] as const);
  if (gradient === 'envelope') return;
  expectOnCpu(`${op} with gradient 'unrolled'`, name, t);
  if (solver === 'auto') return;
  fail(
    op,
    'ERR_INVALID_VALUE',
    `expected no gradient 'unrolled' with solver '${solver}', got both`,
  );
}

/** How much is recorded, in numbers, and what all of it takes with its gradients, in bytes. */
function recorded({ f, g, batch }: Layout, options: Options, debias: boolean) {
  const { maxIterations } = iterationFields(options);
  const numbers = maxIterations * (sizeOf(f) + sizeOf(g)) * (debias ? 3 : 1);
  return { maxIterations, size: 3 * batch + numbers, bytes: 16 * numbers };
}

/** Where the steps are recorded, if a backward comes. */
export function newSteps(
  op: string,
  layout: Layout,
  options: Options,
  needs: Needs,
  debias: boolean,
): Tensor | undefined {
  if (!isUnrolled(options) || Object.keys(needs).length === 0) return undefined;
  const { maxIterations, size, bytes } = recorded(layout, options, debias);
  const { workspaceBytes } = iterationFields(options);
  if (bytes > workspaceBytes) {
    const wanted = `expected workspaceBytes of at least ${bytes} for ${maxIterations} unrolled iterations`;
    const advice = 'lower maxIterations, or raise it';
    fail(op, 'ERR_INVALID_VALUE', `${wanted}, got ${workspaceBytes}; ${advice}`);
  }
  return empty([size], 'float64');
}

/** For a backward, which needs them. */
export function expectSteps(op: string, options: Options, steps: Tensor | undefined): void {
  if (steps || !isUnrolled(options)) return;
  fail(
    op,
    'ERR_GRAPH',
    'expected recorded steps, which forward makes where needs ask for gradients',
  );
}

/** Fields of the steps; what they take of the workspace is not left for costs. */
export function stepFields(
  steps: Tensor | undefined,
  layout: Layout,
  options: Options,
  debias: boolean,
) {
  if (!steps) return {};
  const { workspaceBytes } = iterationFields(options);
  const { bytes } = recorded(layout, options, debias);
  return { steps: steps.raw, workspaceBytes: workspaceBytes - bytes };
}

export const solveKernel = (options: UnrolledGradient) =>
  isUnrolled(options) ? native.sinkhornUnroll : native.sinkhornSolve;
export const gradientKernel = (options: UnrolledGradient) =>
  isUnrolled(options) ? native.sinkhornUnrollBackward : native.sinkhornGradients;
