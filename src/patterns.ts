// Tensors of patterns: one value everywhere, the identity, evenly spaced numbers.
import { type CreateOptions, checkedOptions, fill, finished } from './create.js';
import { checkedDevice } from './device.js';
import type { DType } from './dtype.js';
import { expectFits, expectNumber, fail } from './expect.js';
import { launch, native } from './native.js';
import { checkedSize, type Shape } from './shape.js';
import { empty, type Tensor } from './tensor.js';
import { written } from './transfer.js';

function constant<D extends DType, S extends Shape>(
  op: string,
  shape: S,
  value: number,
  options: CreateOptions<D>,
): Tensor<D, S> {
  const dtype = checkedOptions(op, options, 'float32') as D;
  checkedSize(op, shape);
  const device = checkedDevice(op, options.device);
  const t = empty([...shape] as unknown as S, dtype, value === 0, device);
  if (value !== 0 && t.size > 0) launch(native.fill, { out: t.raw, value });
  return finished(t, options);
}

/**
 * Zeros. -> `shape` of `dtype`, on `device`.
 * @throws ERR_SHAPE for sizes that are no integers from 0 on.
 */
export function zeros<const S extends Shape, D extends DType = 'float32'>(
  shape: S,
  options: CreateOptions<D> = {},
): Tensor<NoInfer<D>, S> {
  return constant('zeros', shape, 0, options);
}

/**
 * Ones. -> `shape` of `dtype`, on `device`.
 * @throws ERR_SHAPE for sizes that are no integers from 0 on.
 */
export function ones<const S extends Shape, D extends DType = 'float32'>(
  shape: S,
  options: CreateOptions<D> = {},
): Tensor<NoInfer<D>, S> {
  return constant('ones', shape, 1, options);
}

/**
 * `value` everywhere. -> `shape` of `dtype`, on `device`.
 * @throws ERR_SHAPE for sizes that are no integers from 0 on, ERR_INVALID_TYPE for a value that is
 *   no number.
 */
export function full<const S extends Shape, D extends DType = 'float32'>(
  shape: S,
  value: number,
  options: CreateOptions<D> = {},
): Tensor<NoInfer<D>, S> {
  const dtype = checkedOptions('full', options, 'float32');
  expectFits('full', 'value', value, dtype);
  return constant('full', shape, value, options);
}

function fromValues<D extends DType>(
  op: string,
  size: number,
  options: CreateOptions<D>,
  value: (i: number) => number,
  standard: DType = 'float32',
): Tensor<D> {
  const dtype = checkedOptions(op, options, standard) as D;
  const t = written([size], dtype, checkedDevice(op, options.device), (raw) =>
    fill(
      op,
      raw,
      dtype,
      Float64Array.from({ length: size }, (_, i) => value(i)),
    ),
  );
  return finished(t, options);
}

/**
 * The identity matrix `[n, n]`, or ones on the diagonal of `[n, m]`.
 * @throws ERR_INVALID_VALUE for sizes that are no integers from 0 on.
 */
export function eye<D extends DType = 'float32'>(
  n: number,
  options?: CreateOptions<D>,
): Tensor<NoInfer<D>>;
export function eye<D extends DType = 'float32'>(
  n: number,
  m: number,
  options?: CreateOptions<D>,
): Tensor<NoInfer<D>>;
export function eye(n: number, m?: number | CreateOptions, options?: CreateOptions): Tensor {
  const hasOptions = typeof m === 'object' && options === undefined;
  const columns = hasOptions ? n : (m ?? n);
  const chosen = hasOptions ? m : (options ?? {});
  expectNumber('eye', 'n', n, { min: 0, integer: true });
  expectNumber('eye', 'm', columns, { min: 0, integer: true });
  const dtype = checkedOptions('eye', chosen, 'float32');
  checkedSize('eye', [n, columns]);
  const t = written([n, columns], dtype, checkedDevice('eye', chosen.device), (raw) => {
    const values = new Float32Array(n * columns);
    for (let i = 0; i < Math.min(n, columns); i++) values[i * columns + i] = 1;
    fill('eye', raw, dtype, values);
  });
  return finished(t, chosen);
}

/**
 * `start`, `start + step`, ... below `end` (`arange(end)` starts at 0); float32 unless asked
 * otherwise. -> [⌈(end - start) / step⌉] of `dtype`.
 * @throws ERR_INVALID_VALUE for a step of 0 or bounds that are not finite.
 */
export function arange<D extends DType = 'float32'>(
  end: number,
  options?: CreateOptions<D>,
): Tensor<NoInfer<D>>;
export function arange<D extends DType = 'float32'>(
  start: number,
  end: number,
  options?: CreateOptions<D>,
): Tensor<NoInfer<D>>;
export function arange<D extends DType = 'float32'>(
  start: number,
  end: number,
  step: number,
  options?: CreateOptions<D>,
): Tensor<NoInfer<D>>;
export function arange(...args: (number | CreateOptions | undefined)[]): Tensor {
  const options = (typeof args.at(-1) === 'object' ? args.pop() : {}) as CreateOptions;
  const numbers = args.filter((v) => v !== undefined);
  if (numbers.length > 3)
    fail(
      'arange',
      'ERR_INVALID_TYPE',
      `expected start, end, step and options, got ${numbers.length} numbers`,
    );
  for (const [i, v] of numbers.entries())
    expectNumber('arange', ['start', 'end', 'step'][i] ?? 'argument', v);
  const [start, end, step = 1] = (numbers.length < 2 ? [0, ...numbers] : numbers) as number[];
  if (end === undefined)
    fail('arange', 'ERR_INVALID_TYPE', 'expected end to be a number, got undefined');
  if (step === 0)
    fail('arange', 'ERR_INVALID_VALUE', 'expected step to be a number other than 0, got 0');
  const size = checkedSize('arange', [Math.max(0, Math.ceil((end - start) / step))]);
  return fromValues('arange', size, options, (i) => start + i * step);
}

/**
 * `count` evenly spaced values from `start` to `end`, both included. -> [count] of `dtype`.
 * @throws ERR_INVALID_VALUE for a count that is no integer from 0 on.
 */
export function linspace<D extends DType = 'float32'>(
  start: number,
  end: number,
  count: number,
  options: CreateOptions<D> = {},
): Tensor<NoInfer<D>> {
  expectNumber('linspace', 'start', start);
  expectNumber('linspace', 'end', end);
  expectNumber('linspace', 'count', count, { min: 0, integer: true });
  const step = count > 1 ? (end - start) / (count - 1) : 0;
  // From both ends inwards, so that the last value is exactly `end`.
  return fromValues('linspace', checkedSize('linspace', [count]), options, (i) =>
    i < count / 2 ? start + i * step : end - (count - 1 - i) * step,
  );
}
