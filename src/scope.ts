// Scopes: what is made in one is disposed at its end, unless it is needed outside.
import { expectFunction, refusePromise } from './expect.js';
import { Tensor } from './tensor.js';

type Scope = Set<Tensor>;
const scopes: Scope[] = [];
/** @internal The innermost scope: every new tensor enters it. */
export let innermost: Scope | null = null;

/** @internal Takes a tensor out of the scopes that would dispose it. */
export function keep<T>(value: T): T {
  if (value instanceof Tensor) for (const s of scopes) s.delete(value);
  return value;
}

/** @internal Set by autograd: every tensor that a pending graph of `t` needs. */
export const graphTensors: { of: (t: Tensor, found: Set<Tensor>) => void } = { of: () => {} };

/** @internal The tensors that a function of a result needs: in a scope's result it keeps them. */
export const tensorsBehind = new WeakMap<object, readonly Tensor[]>();

/** @internal What an object, array, map or set holds. */
export function itemsOf(value: object): Iterable<unknown> {
  return value instanceof Map || value instanceof Set ? value.values() : Object.values(value);
}

function collect(value: unknown, kept: Set<Tensor>, seen: Set<unknown>): void {
  if (value instanceof Tensor) {
    if (kept.has(value)) return;
    kept.add(value);
    if (value.gradient) kept.add(value.gradient);
    graphTensors.of(value, kept);
  } else if (typeof value === 'function') {
    for (const t of tensorsBehind.get(value) ?? []) kept.add(t);
  } else if (value !== null && typeof value === 'object' && !ArrayBuffer.isView(value)) {
    if (seen.has(value)) return;
    seen.add(value);
    for (const item of itemsOf(value)) collect(item, kept, seen);
  }
}

/**
 * Runs `fn` and disposes every tensor made in it, except those in its result (with the graph they
 * need), those given to `keep`, and gradients of tensors from outside. Synchronous: a function that
 * returns a promise is an error.
 */
export function scope<R>(fn: (keep: <T>(value: T) => T) => R): R {
  expectFunction('scope', 'fn', fn);
  const own: Scope = new Set();
  scopes.push(own);
  const outer = innermost;
  innermost = own;
  const kept = new Set<Tensor>();
  try {
    const result = fn((value) => {
      collect(value, kept, new Set());
      return value;
    });
    refusePromise('scope', result);
    collect(result, kept, new Set());
    return result;
  } finally {
    scopes.pop();
    innermost = outer;
    for (const t of own) {
      if (kept.has(t)) outer?.add(t);
      else t.dispose();
    }
  }
}
