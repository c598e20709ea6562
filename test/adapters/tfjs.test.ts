// On TensorFlow.js's tape: values and gradients beside this library's own. tfjs-core is not a
// dependency that everybody has; a stand-in with its contract of customGrad runs everywhere.
import { expect, test } from 'vitest';
import { type TfLibrary, tfjs } from '../../src/adapters/tfjs.js';
import * as sp from '../../src/index.js';
import { refuser } from '../harness/refusal.js';

class Fake {
  constructor(
    readonly values: Float32Array | Int32Array | Uint8Array,
    readonly shape: number[],
    readonly dtype: string,
  ) {}
  dataSync() {
    return this.values;
  }
}

/** As tf.customGrad calls: arguments and a function that saves; the gradient is asked for later. */
const fake = {
  gradFunc: undefined as ((upstream: Fake) => Fake[]) | undefined,
  tensor: (values: Float32Array, shape: number[], dtype: string) => new Fake(values, shape, dtype),
  customGrad(f: (...inputs: unknown[]) => { value: Fake; gradFunc: (upstream: Fake) => Fake[] }) {
    return (...inputs: unknown[]) => {
      const { value, gradFunc } = f(...inputs, () => {});
      fake.gradFunc = gradFunc;
      return value;
    };
  },
};

const logits = new Float32Array([1, 2, 3, 1, 0, -1]);
const labels = new Int32Array([2, 0]);

function ours(upstream: number) {
  const x = sp.tensor(logits, { shape: [2, 3], requiresGrad: true });
  const loss = sp.crossEntropy(x, sp.tensor(labels));
  loss.mul(upstream).backward();
  return { loss: loss.item(), grad: x.grad!.dataSync() };
}

test('a loss under the contract of tf.customGrad', () => {
  const { customGrad } = tfjs(fake);
  const loss = customGrad((x, y) => sp.crossEntropy(x, y));
  const value = loss(new Fake(logits, [2, 3], 'float32'), new Fake(labels, [2], 'int32')) as Fake;
  expect([value.shape, value.dtype]).toEqual([[], 'float32']);
  expect(value.values[0]).toBe(ours(1).loss);
  const grads = fake.gradFunc!(new Fake(new Float32Array([2]), [], 'float32'));
  // One gradient, of the float: labels are no argument of what is differentiated.
  expect(grads.map(({ shape }) => shape)).toEqual([[2, 3]]);
  expect(grads[0].values).toEqual(ours(2).grad);
});

test('an input that the loss does not use has a gradient of zeros', () => {
  const loss = tfjs(fake).customGrad((x) => x.sum());
  loss(new Fake(logits, [6], 'float32'), new Fake(logits, [2, 3], 'float32'));
  const grads = fake.gradFunc!(new Fake(new Float32Array([1]), [], 'float32'));
  expect([...grads[1].values]).toEqual([0, 0, 0, 0, 0, 0]);
});

test('tensors both ways', () => {
  const { fromTf, toTf } = tfjs(fake);
  const flags = new Fake(new Uint8Array([1, 0]), [2, 1], 'bool');
  expect([fromTf(flags).dtype, fromTf(flags).toArray()]).toEqual(['bool', [[true], [false]]]);
  const half = toTf(sp.tensor([0.5, 2], { dtype: 'float16' })) as Fake;
  expect([half.dtype, half.values]).toEqual(['float32', new Float32Array([0.5, 2])]);
  expect((toTf(sp.tensor(new Uint8Array([3]))) as Fake).dtype).toBe('int32');
  expect((toTf(sp.tensor([true])) as Fake).dtype).toBe('bool');
});

test('what has no counterpart is refused', () => {
  const { fromTf, toTf, customGrad } = tfjs(fake);
  refuser('fromTf')(() => fromTf(new Fake(logits, [6], 'complex64')), 'ERR_DTYPE', /complex64/);
  refuser('fromTf')(() => fromTf(5 as never), 'ERR_INVALID_TYPE', /TensorFlow\.js, got 5/);
  refuser('toTf')(() => toTf(sp.tensor([1n])), 'ERR_DTYPE', /\.to\('int32'\)/);
  refuser('tfjs')(() => tfjs({} as TfLibrary), 'ERR_INVALID_TYPE');
  const wrong = customGrad(() => 5 as never);
  refuser('customGrad')(() => wrong(new Fake(logits, [6], 'float32')), 'ERR_INVALID_TYPE', /got 5/);
});

// A name that the compiler does not resolve: types of an absent package are no error then.
const name: string = '@tensorflow/tfjs-core';
// biome-ignore lint/suspicious/noExplicitAny: typed where it is installed only
const tf: any = await import(/* @vite-ignore */ name).catch(() => null);
if (!tf) console.info(`skipped: ${name} is not installed`);

test.skipIf(!tf)('TensorFlow.js itself takes the gradient', () => {
  // tfjs-core comes without kernels: those that its tape needs to add up gradients and no more.
  const { customGrad } = tfjs(tf as TfLibrary);
  class Backend extends tf.KernelBackend {
    readonly memoryById = new Map<object, unknown>();
    nextId = 0;
    write(values: unknown, shape: number[], dtype: string) {
      const id = { id: this.nextId++, shape, dtype };
      this.memoryById.set(id, values);
      return id;
    }
    move(id: object, values: unknown) {
      this.memoryById.set(id, values);
    }
    readSync(id: object) {
      return this.memoryById.get(id);
    }
    numDataIds() {
      return this.memoryById.size;
    }
    disposeData(id: object) {
      return this.memoryById.delete(id);
    }
    incRef() {}
    decRef() {}
    refCount() {
      return 1;
    }
    floatPrecision() {
      return 32;
    }
    epsilon() {
      return 1e-7;
    }
    dispose() {}
  }
  tf.registerBackend('bare', () => new Backend());
  tf.setBackend('bare');
  const loss = customGrad((x, y) => sp.crossEntropy(x, y));
  const y = tf.tensor(labels, [2], 'int32');
  const f = tf.valueAndGrad((x: never) => loss(x, y as never));
  const { value, grad } = f(tf.tensor(logits, [2, 3], 'float32'), tf.tensor([2], [], 'float32'));
  expect(value.dataSync()[0]).toBe(ours(1).loss);
  expect(grad.dataSync()).toEqual(ours(2).grad);
});
