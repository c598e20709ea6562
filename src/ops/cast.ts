// Conversion to another dtype or device, and copies.
import { defineOp } from '../autograd.js';
import { checkedDevice, type Device } from '../device.js';
import { type DType, dtypes } from '../dtype.js';
import { fail, nearest, show } from '../expect.js';
import { launch, native } from '../native.js';
import type { Shape } from '../shape.js';
import { empty, expectTensor, type Tensor } from '../tensor.js';
import { copyValues } from '../transfer.js';

function converted(x: Tensor, dtype: DType): Tensor {
  const out = empty(x.shape, dtype);
  launch(native.cast, { a: x.raw, out: out.raw });
  return out;
}

/** The same values on another device. */
function moved(x: Tensor, device: Device): Tensor {
  const out = empty(x.shape, x.dtype, false, device);
  copyValues(x, out);
  return out;
}

const toOp = defineOp({
  name: 'to',
  builtin: true,
  inputs: ['x'],
  options: ['dtype', 'device'],
  forward: ({ x }, { dtype, device }: { dtype?: DType; device?: Device }) => ({
    output: device ? moved(x, device) : converted(x, dtype ?? x.dtype),
    saved: { dtype: x.dtype, device: x.device },
  }),
  backward({ dtype, device }, g: Tensor) {
    if (g.device !== device) return { x: moved(g, device) };
    return { x: g.dtype === dtype ? g : converted(g, dtype) };
  },
});

/**
 * The values of `x` in another dtype (differentiable between float dtypes), or on another device
 * (differentiable); `x` itself where nothing changes. To 'cpu' it waits for the device. Floats round to nearest even. Where C leaves a
 * conversion undefined, a float beyond an integer's range becomes the nearest end of the range and
 * NaN becomes 0; integers wrap; bool is `value != 0`.
 *
 * x of any shape -> the same shape.
 *
 * @throws ERR_NO_CUDA for 'cuda' on a machine or build without it.
 * @example x.to('bfloat16')
 */
export function to<D extends DType, S extends Shape>(x: Tensor<DType, S>, dtype: D): Tensor<D, S>;
export function to<T extends Tensor>(x: T, device: Device): T;
export function to(x: Tensor, target: DType | Device): Tensor {
  expectTensor('to', 'x', x);
  if (dtypes.includes(target as DType)) {
    return target === x.dtype ? x : toOp(x, { dtype: target });
  }
  if (typeof target !== 'string' || !/^(cpu|cuda)/.test(target)) {
    const meant = typeof target === 'string' ? nearest(target, dtypes) : undefined;
    fail(
      'to',
      typeof target === 'string' ? 'ERR_DTYPE' : 'ERR_INVALID_TYPE',
      `expected a dtype (${dtypes.join(', ')}) or a device, got ${show(target)}` +
        (meant ? ` (did you mean '${meant}'?)` : ''),
    );
  }
  const device = checkedDevice('to', target);
  return device === x.device ? x : toOp(x, { device });
}

/**
 * A copy with memory of its own. Gradients pass through. x of any dtype and shape -> the same, in
 * memory of its own; differentiable.
 * @throws ERR_DISPOSED for a tensor that was disposed.
 */
export const clone = defineOp<<D extends DType, S extends Shape>(x: Tensor<D, S>) => Tensor<D, S>>({
  name: 'clone',
  builtin: true,
  inputs: ['x'],
  options: [],
  forward: ({ x }) => ({ output: converted(x, x.dtype), saved: {} }),
  backward: (_, g) => ({ x: g }),
});
