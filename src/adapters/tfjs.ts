// Losses of this library on TensorFlow.js's tape: values cross by copies, gradients come from our
// kernels through tf.customGrad. TensorFlow.js is handed over by whoever uses it, so that there is
// one copy of it, of whatever back end, and none where nobody asked for it.
import { fail, show } from '../expect.js';
import * as sp from '../index.js';
import { expectTensor } from '../tensor.js';

/** What is used of a tensor of TensorFlow.js. */
export interface TfTensor {
  /** Sizes. */
  readonly shape: readonly number[];
  /** The name of the type of its elements. */
  readonly dtype: string;
  /** Its elements. */
  // biome-ignore lint/suspicious/noExplicitAny: typed by dtype names there
  dataSync(): any;
}

/** What is used of TensorFlow.js: tfjs-core, tfjs, tfjs-node. */
export interface TfLibrary {
  /** Makes a tensor. */
  // biome-ignore lint/suspicious/noExplicitAny: overloads by rank there
  tensor(values: any, shape: any, dtype: any): any;
  /** Makes a function with a gradient of its own. */
  // biome-ignore lint/suspicious/noExplicitAny: any number of tensors, then a function that saves some
  customGrad(f: (...inputs: any[]) => any): (...inputs: any[]) => any;
}

/** This library's tensors and losses for one TensorFlow.js. */
export interface TfAdapter<T extends TfTensor> {
  /**
   * A copy of a tensor: float32, int32 and bool keep their dtype.
   *
   * @throws TypeError ERR_DTYPE for complex64 and string tensors.
   */
  fromTf(
    x: T,
    options?: { requiresGrad?: boolean | undefined; device?: sp.Device | undefined },
  ): sp.Tensor;
  /**
   * A copy of a tensor: floats become float32, uint8 becomes int32, int32 and bool stay.
   *
   * @throws TypeError ERR_DTYPE for int64, of which TensorFlow.js has no counterpart.
   */
  toTf(t: sp.Tensor): T;
  /**
   * A function of this library as one of TensorFlow.js, differentiable in its float32 arguments:
   * `fn` is given tensors in their order and gives one. Gradients of gradients are refused by
   * TensorFlow.js.
   *
   * @example
   * const loss = customGrad((logits, labels) => sp.crossEntropy(logits, labels));
   * const { value, grads } = tf.valueAndGrad((x) => loss(x, labels))(logits);
   */
  customGrad(fn: (...inputs: sp.Tensor[]) => sp.Tensor): (...inputs: T[]) => T;
}

const kept = ['float32', 'int32', 'bool'] as const;

function fromTf(
  x: TfTensor,
  options: { requiresGrad?: boolean | undefined; device?: sp.Device | undefined } = {},
) {
  if (typeof x?.dataSync !== 'function') {
    fail(
      'fromTf',
      'ERR_INVALID_TYPE',
      `expected x to be a tensor of TensorFlow.js, got ${show(x)}`,
    );
  }
  const dtype = kept.find((name) => name === x.dtype);
  if (!dtype) {
    fail('fromTf', 'ERR_DTYPE', `expected x to be ${kept.join(' or ')}, got ${x.dtype}`);
  }
  return sp.tensor(x.dataSync(), { ...options, dtype, shape: [...x.shape] }) as sp.Tensor;
}

function toTf(tf: TfLibrary, t: sp.Tensor): TfTensor {
  expectTensor('toTf', 't', t);
  const { shape, dtype } = t;
  if (dtype === 'int64') {
    fail(
      'toTf',
      'ERR_DTYPE',
      "expected a dtype of TensorFlow.js, got int64; cast it by .to('int32')",
    );
  }
  const values = t.dataSync() as ArrayLike<number>;
  if (dtype === 'bool') return tf.tensor(values, [...shape], 'bool');
  if (dtype === 'int32' || dtype === 'uint8') {
    return tf.tensor(Int32Array.from(values), [...shape], 'int32');
  }
  return tf.tensor(Float32Array.from(values), [...shape], 'float32');
}

function customGrad(tf: TfLibrary, fn: (...inputs: sp.Tensor[]) => sp.Tensor) {
  return (...inputs: TfTensor[]): TfTensor => {
    const isDifferentiable = inputs.map(({ dtype }) => dtype === 'float32');
    const constants = inputs.map((x, i) => (isDifferentiable[i] ? null : fromTf(x)));
    // TensorFlow.js asks for a float32 gradient of each argument, so only floats are arguments.
    const floats = inputs.filter((_, i) => isDifferentiable[i]);
    const compute = (...given: unknown[]) => {
      const leaves = floats.map((_, i) => fromTf(given[i] as TfTensor, { requiresGrad: true }));
      let next = 0;
      const result = fn(...constants.map((constant) => constant ?? leaves[next++]));
      expectTensor('customGrad', 'the result of fn', result);
      const gradFunc = (upstream: TfTensor) => {
        const gradOutputs = [fromTf(upstream).to(result.dtype).to(result.device)];
        const options = { gradOutputs, retainGraph: true, allowUnused: true };
        const grads = sp.grad([result], leaves, options);
        return grads.map((grad, i) => toTf(tf, grad ?? sp.zeros(leaves[i].shape)));
      };
      return { value: toTf(tf, result), gradFunc };
    };
    return tf.customGrad(compute)(...floats);
  };
}

/**
 * This library's losses for a TensorFlow.js that is handed over.
 *
 * @example const { customGrad, fromTf, toTf } = tfjs(tf) // tf: the TensorFlow.js that you import
 */
export function tfjs<L extends TfLibrary>(tf: L): TfAdapter<ReturnType<L['tensor']>> {
  if (typeof tf?.customGrad !== 'function' || typeof tf.tensor !== 'function') {
    fail('tfjs', 'ERR_INVALID_TYPE', `expected tf to be TensorFlow.js, got ${show(tf)}`);
  }
  const adapter: TfAdapter<TfTensor> = {
    fromTf,
    toTf: (t) => toTf(tf, t),
    customGrad: (fn) => customGrad(tf, fn),
  };
  return adapter as unknown as TfAdapter<ReturnType<L['tensor']>>;
}
