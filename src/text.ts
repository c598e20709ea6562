// Tensors as people read them: nested arrays and a short printed form.
import { capture } from './capture.js';
import type { DType } from './dtype.js';
import type { Shape } from './shape.js';

type Values = ArrayLike<number | bigint>;

/** Nested arrays of the elements; booleans for bool; the bare value for a scalar. */
export function nestedArray(values: Values, shape: Shape, dtype: DType): unknown {
  const value = (i: number) => (dtype === 'bool' ? values[i] !== 0 : values[i]);
  const build = (axis: number, offset: number, stride: number): unknown => {
    if (axis === shape.length) return value(offset);
    const inner = shape[axis] === 0 ? 0 : stride / shape[axis];
    return Array.from({ length: shape[axis] }, (_, i) =>
      build(axis + 1, offset + i * inner, inner),
    );
  };
  return build(0, 0, values.length);
}

function short(value: unknown): string {
  if (typeof value !== 'number') return String(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
}

/** At most three elements at either end of an axis. */
function brief(value: unknown, indent: string): string {
  if (!Array.isArray(value)) return short(value);
  const shown = value.length <= 7 ? value : [...value.slice(0, 3), undefined, ...value.slice(-3)];
  const nested = Array.isArray(value[0]);
  const parts = shown.map((v) => (v === undefined ? '...' : brief(v, `${indent} `)));
  return `[${parts.join(nested ? `,\n${indent} ` : ', ')}]`;
}

interface Printable {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly size: number;
  readonly device: string;
  readonly isDisposed: boolean;
  readonly requiresGrad: boolean;
  toArray(): unknown;
}

/** `Tensor [2, 3] float32 cpu` and the elements, abbreviated. */
export function inspectTensor(t: Printable): string {
  const head = `Tensor [${t.shape.join(', ')}] ${t.dtype} ${t.device}`;
  if (t.isDisposed) return `${head} (disposed)`;
  const grad = t.requiresGrad ? ' requiresGrad' : '';
  // Values cannot be read while a graph is being made.
  if (t.size > 100_000 || (capture && t.device !== 'cpu')) return `${head}${grad}`;
  return `${head}${grad}\n${brief(t.toArray(), '')}`;
}
