// Potentials of an earlier solve to start another one from: `init` of the operations of optimal
// transport. Its tensors become option tensors of their own names, so that they are looked after
// like all others.
import type { Inputs } from './autograd.js';
import { floats } from './dtype.js';
import { expectDType, expectShape, fail, show } from './expect.js';
import { expectTensor, type Tensor } from './tensor.js';
import type { Layout } from './transport.js';

export interface WarmStart {
  /**
   * Potentials f [B?, N] and g [B?, M] (packed [ΣN], [ΣM]) to start from, of any float dtype, such as
   * the result of `sinkhornPotentials` of points that have moved little since. No annealing then.
   */
  init?: { readonly f: Tensor; readonly g: Tensor } | undefined;
}

export const initTensors = ['init.f', 'init.g'] as const;
export type InitTensors = (typeof initTensors)[number];

type In = Inputs<never, InitTensors>;

/** The options with init's tensors beside the others. */
export function withInit(op: string, options: unknown): unknown {
  if (typeof options !== 'object' || options === null || !('init' in options)) return options;
  const { init, ...others } = options;
  if (init === undefined) return others;
  if (typeof init !== 'object' || init === null) {
    const wanted = 'expected init to be { f, g }, potentials of an earlier solve';
    fail(op, 'ERR_INVALID_TYPE', `${wanted}, got ${show(init)}`);
  }
  const { f, g } = init as Record<string, unknown>;
  expectTensor(op, 'init.f', f);
  expectTensor(op, 'init.g', g);
  return { ...others, 'init.f': f, 'init.g': g };
}

export function checkInit(op: string, t: In, layout: Layout, solver = 'auto'): void {
  for (const [name, shape] of [['init.f', layout.f] as const, ['init.g', layout.g] as const]) {
    const potential = t[name];
    if (!potential) continue;
    if (potential.device !== 'cpu') {
      const wanted = 'expected no init on a device, where it has no form yet';
      fail(op, 'ERR_DEVICE', `${wanted}, got ${name} on ${potential.device}`);
    }
    expectDType(op, name, potential, floats);
    expectShape(op, name, potential, shape, 'one potential per point');
    if (solver === 'auto') continue;
    fail(op, 'ERR_INVALID_VALUE', `expected no init with solver '${solver}', got both`);
  }
}

export const initFields = (t: In) => ({ initF: t['init.f']?.raw, initG: t['init.g']?.raw });

/** The inputs, or the options, without them: where a solve began is of no use after it. */
export function withoutInit<T extends object>(t: T): Omit<T, InitTensors> {
  const { 'init.f': _f, 'init.g': _g, ...others } = t as T & In;
  return others as Omit<T, InitTensors>;
}
