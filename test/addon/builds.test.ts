// Both build systems make the same addon: each is loaded by a process of its own, and prints the
// same bits. `npm test` builds the second one where the machine has the tools for both.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { loadedAddon } from './loaded.js';

const second = resolve('build/second/surprisal.node');

// Matrix product, softmax, a loss with its gradient: general ops, both kinds of kernel, the tape.
const program = `
  import * as sp from 'surprisal';
  const x = sp.linspace(-2, 2, 6 * 40).reshape([6, 40]).requiresGrad_();
  const w = sp.linspace(3, -1, 100 * 40).reshape([100, 40]).requiresGrad_();
  const target = sp.tensor([0, 99, -100, 7, 3, 12], { dtype: 'int64' });
  const logits = sp.matmul(x, w, { transposeB: true });
  const loss = sp.crossEntropy(logits, target, { labelSmoothing: 0.1 });
  const fused = sp.linearCrossEntropy(x, w, target);
  loss.add(fused).backward();
  for (const t of [sp.softmax(logits), loss, fused, x.grad, w.grad]) {
    const bytes = Buffer.from(t.dataSync().buffer);
    console.log(t.shape.join('x'), bytes.toString('base64'));
  }
`;

function bits(addon: string): string {
  const args = ['--input-type=module', '-e', program];
  const env = { ...process.env, SURPRISAL_NATIVE: addon };
  const result = spawnSync(process.execPath, args, { env, encoding: 'utf8' });
  expect(result.stderr).toBe('');
  expect(result.status).toBe(0);
  return result.stdout;
}

test('the addon in use runs from the compiled package', () => {
  expect(bits(loadedAddon).split('\n')).toHaveLength(6);
});

test.skipIf(!existsSync(second))('the two builds print the same bits', () => {
  expect(bits(second)).toBe(bits(loadedAddon));
});
