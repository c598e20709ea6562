// A small U-Net and a small classifier of images: a few steps, in which the loss falls.
import { expect, test } from 'vitest';
import * as sp from '../../src/index.js';

const parameters: sp.Tensor[] = [];
function weight(...shape: number[]): sp.Tensor {
  const fan = shape.slice(1).reduce((a, b) => a * b, 1);
  const t = sp
    .randn(shape)
    .mul(Math.sqrt(2 / fan))
    .detach()
    .requiresGrad_();
  parameters.push(t as sp.Tensor);
  return t as sp.Tensor;
}

/** Trains with Adam and gives the losses. */
function train(loss: () => sp.Tensor, steps: number): number[] {
  const adam = new sp.optim.Adam(parameters.splice(0), { lr: 0.02 });
  return Array.from({ length: steps }, () =>
    sp.scope(() => {
      const value = loss();
      value.backward();
      adam.step();
      adam.zeroGrad();
      return value.item() as number;
    }),
  );
}

/** Images of noise with a bright disc, and where the disc is. */
function discs(count: number, n: number) {
  const images = sp.randn([count, 1, n, n]).mul(0.3).dataSync() as Float32Array;
  const masks = new Int32Array(images.length);
  for (let i = 0; i < images.length; i++) {
    const [b, y, x] = [Math.floor(i / (n * n)), Math.floor(i / n) % n, i % n];
    masks[i] = (y - n / 2 - b) ** 2 + (x - n / 2 + b) ** 2 < (n / 4) ** 2 ? 1 : 0;
    images[i] += masks[i];
  }
  return { x: sp.tensor(images, { shape: [count, 1, n, n] }), masks };
}

test('a U-Net finds discs', () => {
  sp.manualSeed(1);
  const { x, masks } = discs(4, 16);
  const target = sp.tensor(masks);
  const down = weight(8, 1, 3, 3);
  const bottom = weight(16, 8, 3, 3);
  const up = weight(16, 8, 2, 2);
  const join = weight(8, 16, 3, 3);
  const last = weight(2, 8, 1, 1);
  const losses = train(() => {
    const a = x.conv2d(down, { padding: 1 }).groupNorm(2).relu();
    const b = a.maxPool2d(2).conv2d(bottom, { padding: 'same' }).groupNorm(4).relu();
    const c = sp.concat([a, b.convTranspose2d(up, { stride: 2 })], { dim: 1 });
    const d = c
      .conv2d(join, { padding: 1 })
      .add(b.slice(1, 0, 8).interpolate({ scaleFactor: 2, mode: 'bilinear' }));
    const logits = d.relu().conv2d(last).permute([0, 2, 3, 1]).reshape([-1, 2]);
    return sp.crossEntropy(logits, target as never);
  }, 20);
  expect(losses.every(Number.isFinite)).toBe(true);
  expect(losses[19]).toBeLessThan(0.4 * losses[0]);
});

test('a CNN tells stripes apart', () => {
  sp.manualSeed(2);
  const [count, n] = [16, 12];
  const noise = sp.randn([count, 1, n, n]).dataSync() as Float32Array;
  const classes = Int32Array.from({ length: count }, (_, i) => i % 2);
  for (let i = 0; i < noise.length; i++) {
    const along = classes[Math.floor(i / (n * n))] ? i % n : Math.floor(i / n) % n;
    noise[i] = 0.4 * noise[i] + (along % 4 < 2 ? 1 : -1);
  }
  const x = sp.tensor(noise, { shape: [count, 1, n, n] });
  const first = weight(8, 1, 3, 3);
  const second = weight(8, 8, 3, 3);
  const head = weight(8, 2);
  const runningMean = sp.zeros([8]);
  const runningVar = sp.ones([8]);
  const losses = train(() => {
    const a = x.conv2d(first).batchNorm({ training: true, runningMean, runningVar }).relu();
    const b = a.avgPool2d(2).conv2d(second, { stride: 2 }).relu();
    const logits = b
      .maxPool2d(2)
      .mean({ dim: [2, 3] })
      .matmul(head);
    return sp.crossEntropy(logits, sp.tensor(classes) as never);
  }, 25);
  expect(losses[24]).toBeLessThan(0.3 * losses[0]);
  expect(runningVar.toArray()).not.toEqual(new Array(8).fill(1));
});
