// One gradient on its way through a backward walk: made, added, seen by hooks, given up. A walk holds
// a claim on it; whoever took it from a hook or from `grad` has seen it, and it is never overwritten.
import type { DType } from './dtype.js';
import { fail, show } from './expect.js';
import { launch, native } from './native.js';
import type { Device } from './place.js';
import { sameShape } from './shape.js';
import { noGrad, tape } from './tape.js';
import { empty, expectTensor, type Hook, type Tensor } from './tensor.js';

/** A tensor of one value. */
export function filled(
  shape: readonly number[],
  dtype: Tensor['dtype'],
  value: number,
  device: Device,
): Tensor {
  const t = empty(shape, dtype, value === 0, device);
  if (value !== 0) launch(native.fill, { out: t.raw, value });
  return t;
}

export function copyOf(t: Tensor): Tensor {
  const copy = empty(t.shape, t.dtype, false, t.device);
  launch(native.cast, { a: t.raw, out: copy.raw });
  return copy;
}

/** Whether forward may make it for an upstream gradient of 1: in float16 it would vanish before the loss is scaled. */
export const madeInForward = (dtype: DType): boolean => dtype !== 'float16';

/** Whether that may be scaled later; bfloat16 would be rounded twice. */
export const scalable = (dtype: DType): boolean => dtype === 'float32' || dtype === 'float64';

interface Reuse {
  gradient?: Tensor;
  /** Where the operation's backward is to write the gradient, if it is to. */
  own?: Tensor;
  /** Whether it is there already for an upstream gradient of 1. */
  ready: boolean;
}

/** The gradient of `input`, of which forward may have left `unit` for an upstream gradient of 1. */
export function reuse(
  unit: Tensor | undefined,
  input: Tensor,
  upstream: Tensor,
  needed: boolean | undefined,
): Reuse {
  if (!needed) return { ready: false };
  if (unit && scalable(unit.dtype)) return { gradient: scaled(unit, upstream), ready: false };
  const ready = unit !== undefined && !tape.retained;
  const own = ready ? unit : empty(input.shape, input.dtype);
  return { gradient: own, own, ready };
}

/** What forward made for an upstream gradient of 1, times `upstream`; in place unless it is needed again. */
export function scaled(grad: Tensor, upstream: Tensor): Tensor {
  const out = tape.retained ? empty(grad.shape, grad.dtype) : grad;
  launch(native.crossEntropyScale, { grad: grad.raw, upstream: upstream.raw, out: out.raw });
  return out;
}

export function unclaim(t: Tensor): void {
  if (--t.claims === 0 && !t.seen) t.dispose();
}

/** a + b; in place when nobody else can see a. Takes over the claim on each. */
export function summed(a: Tensor, b: Tensor): Tensor {
  let sum = a;
  if (a.claims !== 1 || a.seen || a.storage!.refs !== 1 || a === b) {
    sum = copyOf(a);
    sum.claims = 1;
    unclaim(a);
  }
  launch(native.accumulate, { out: sum.raw, a: b.raw });
  unclaim(b);
  return sum;
}

/** What a tensor and its gradient share. */
interface Likeness {
  readonly shape: readonly number[];
  readonly dtype: Tensor['dtype'];
  readonly device: Device;
}

/** Whether one can be the gradient of the other. */
export function isAlike(a: Likeness, b: Likeness): boolean {
  return a.dtype === b.dtype && a.device === b.device && sameShape(a.shape, b.shape);
}

export function expectAlive(op: string, what: string, t: Tensor): void {
  if (t.storage) return;
  fail(op, 'ERR_DISPOSED', `expected ${what} to be alive, got ${show(t)} that has been disposed`);
}

export function runHooks(hooks: readonly Hook[], gradient: Tensor): Tensor {
  let current = gradient;
  for (const hook of [...hooks]) {
    current.seen = true;
    const replaced = noGrad(() => hook(current));
    if (replaced !== undefined) expectTensor('registerHook', "the hook's result", replaced);
    expectAlive('registerHook', 'the gradient that the hook leaves', replaced ?? current);
    if (replaced === undefined || replaced === current) continue;
    if (!isAlike(replaced, current)) {
      fail(
        'registerHook',
        'ERR_SHAPE',
        `expected the hook to return ${show(current)}, got ${show(replaced)}`,
      );
    }
    replaced.seen = true;
    replaced.claims++;
    unclaim(current);
    current = replaced;
  }
  return current;
}
