// Random tensors. Element i of a draw is a function of the seed and of i (native/core/philox.h).
import { type CreateOptions, checkedOptions, finished } from '../create.js';
import { checkedDevice } from '../device.js';
import type { DType, FloatDType } from '../dtype.js';
import { expectDType, expectNumber } from '../expect.js';
import { takeBlocks } from '../generator.js';
import { launch, native } from '../native.js';
import { checkedSize, type Shape } from '../shape.js';
import { empty, type Tensor } from '../tensor.js';

const floats: readonly DType[] = ['float32', 'float64', 'float16', 'bfloat16'];
const integers: readonly DType[] = ['int32', 'int64', 'uint8'];

/** An unwritten tensor and the part of the generator's stream that fills it. */
function reserve<D extends DType, S extends Shape>(
  op: string,
  shape: S,
  options: CreateOptions<D>,
  standard: DType,
  allowed: readonly DType[],
) {
  const dtype = checkedOptions(op, options, standard) as D;
  const size = checkedSize(op, shape);
  const t = empty([...shape] as unknown as S, dtype, false, checkedDevice(op, options.device));
  expectDType(op, 'dtype', t, allowed);
  const words = dtype === 'float64' || allowed === integers ? 2 : 1;
  return { t, draw: Object.assign({ out: t.raw }, takeBlocks(Math.ceil((size * words) / 4))) };
}

/**
 * Uniform numbers in [0, 1): multiples of 2^-24 for float32, of 2^-53 for float64.
 * @throws ERR_DTYPE for integers and bool, ERR_SHAPE for sizes that are no integers from 0 on.
 */
export function rand<const S extends Shape, D extends FloatDType = 'float32'>(
  shape: S,
  options: CreateOptions<D> = {},
): Tensor<NoInfer<D>, S> {
  const { t, draw } = reserve('rand', shape, options, 'float32', floats);
  launch(native.randomUniform, draw);
  return finished(t, options);
}

/**
 * Normal numbers of mean 0 and variance 1 (Box and Muller). -> `shape` of a float dtype, on
 * `device`.
 * @throws ERR_DTYPE for integers and bool, ERR_SHAPE for sizes that are no integers from 0 on.
 */
export function randn<const S extends Shape, D extends FloatDType = 'float32'>(
  shape: S,
  options: CreateOptions<D> = {},
): Tensor<NoInfer<D>, S> {
  const { t, draw } = reserve('randn', shape, options, 'float32', floats);
  launch(native.randomNormal, draw);
  return finished(t, options);
}

/**
 * Uniform integers in [low, high): int64 unless asked for int32 or uint8. `randint(high, shape)`
 * starts at 0.
 *
 * @throws ERR_INVALID_VALUE for high <= low or bounds that the dtype cannot hold, ERR_SHAPE for
 *   sizes that are no integers from 0 on.
 * @example randint(0, 10, [4])
 */
export function randint<const S extends Shape, D extends 'int32' | 'int64' | 'uint8' = 'int64'>(
  low: number,
  high: number,
  shape: S,
  options?: CreateOptions<D>,
): Tensor<NoInfer<D>, S>;
export function randint<const S extends Shape, D extends 'int32' | 'int64' | 'uint8' = 'int64'>(
  high: number,
  shape: S,
  options?: CreateOptions<D>,
): Tensor<NoInfer<D>, S>;
export function randint(first: number, ...rest: unknown[]): Tensor {
  const [low, high, shape, options] = Array.isArray(rest[0])
    ? [0, first, ...rest]
    : [first, ...rest];
  expectNumber('randint', 'low', low, { integer: true });
  expectNumber('randint', 'high', high, { above: low, integer: true });
  const chosen = (options ?? {}) as CreateOptions;
  const { t, draw } = reserve('randint', shape as Shape, chosen, 'int64', integers);
  if (t.dtype !== 'int64') {
    const [min, max] = t.dtype === 'uint8' ? [0, 255] : [-(2 ** 31), 2 ** 31 - 1];
    expectNumber('randint', 'low', low, { min });
    expectNumber('randint', 'high', high, { max: max + 1 });
  }
  launch(native.randomIntegers, { low, high }, draw);
  return finished(t, chosen);
}
