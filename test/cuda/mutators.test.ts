// scripts/mutators.mjs: what a planted bug is, and that one which sleeps changes nothing.
import { expect, test } from 'vitest';

interface Bug {
  number: number;
  line: number;
  in: string;
  what: string;
  bug: string;
  nth?: number;
}
interface Mutators {
  bugs(path: string, text: string, first: number): Bug[];
  key(bug: Bug): string;
  plant(text: string, bugs: Bug[]): string;
}
const mutators = '../../scripts/mutators.mjs';
const { bugs, key, plant } = (await import(mutators)) as Mutators;

const kernel = `
__global__ void __launch_bounds__(kThreads) sum_kernel(Sum s) {  // if (not) code
  float sum = 0;
  float part[kThreads / 2];
  for (int i = thread_index(); i < s.n; i += kThreads) sum += load(s.a + i * s.stride);
  for (int m = 16; m > 0; m /= 2) sum += shuffle_xor(sum, m);
  if (lane_index() == 0) store(&shared<float>(), sum);
  sync_threads();
  copy_async_wait<kAhead - 1>();
  if constexpr (kWide > 1) sync_cluster();
  s.out[0] = s.n > 1 ? sum : 0;
}
void launch_sum(Sum s) {
  if (s.n == 0) return;
}
`;

const found = bugs('native/ops/sum/cuda.cu', kernel, 1);
const of = (what: string) => found.filter((bug) => bug.what === what).map(({ bug }) => bug);

test('bugs are planted in kernels only, and named by function, kind and line', () => {
  expect(new Set(found.map((bug) => bug.in))).toEqual(new Set(['sum_kernel']));
  expect(found.every(({ line }) => line >= 3 && line <= 11)).toBe(true);
  expect(new Set(found.map(key)).size).toBe(found.length);
  expect(found.map(({ number }) => number)).toEqual(found.map((_, i) => 1 + i));
});

test('each kind reads as it is meant', () => {
  expect(of('barrier left out')).toContain('1 ? void() : sync_threads();');
  expect(of('waits for one group less')).toEqual([
    '1 ? copy_async_wait<kAhead - 1 + 1>() : copy_async_wait<kAhead - 1>();',
  ]);
  const [first, second] = kernel
    .trim()
    .split('\n')
    .slice(3)
    .map((line) => line.trim());
  expect(of('bound off by one')).toContain(first.replace('< s.n', '< 1 + s.n'));
  expect(of('stride off by one')).toEqual([first.replace('+= k', '+= 1 + k')]);
  expect(of('term left out')).toEqual([
    first.replace('+= load', '+= 1 ? 0 : load'),
    second.replace('+= shuffle', '+= 1 ? 0 : shuffle'),
  ]);
  expect(of('address off by one')).toContain(first.replace('load(', 'load(1 + '));
  expect(of('factor off by one').filter((text) => /part|stride/.test(text))).toEqual([
    first.replace('* s.stride', '* (s.stride + 1)'),
  ]);
  expect(of('lane twice as far')).toEqual([second.replace(', m)', ', (1 + 1) * m)')]);
  expect(of('condition taken for false')).toEqual([
    'if ((lane_index() == 0) && !1) store(&shared<float>(), sum);',
  ]);
  expect(of('choice taken for true')).toEqual(['s.out[0] = s.n > 1 || 1 ? sum : 0;']);
});

test('all at once, asleep, they are the text again', () => {
  const text = plant(kernel, found);
  expect(text).not.toBe(kernel);
  const awake = text.match(/SP_M\(\d+\)/g)!;
  expect(new Set(awake).size).toBe(found.length);
  // What the C++ compiler makes of a bug that sleeps.
  const asleep = text
    .replace(/ (&& !|\|\| )SP_M\(\d+\)/g, '')
    .replace(/SP_M\(\d+\) \? [\w<>() +-]+? : /g, '')
    .replace(/\(1 \+ SP_M\(\d+\)\) \* /g, '')
    .replace(/-?(16 \* )?SP_M\(\d+\) (\+|\|\|) /g, '')
    .replace(/\((\w[\w.]*) \+ SP_M\(\d+\)\)/g, '$1')
    .replace(/ \+ SP_M\(\d+\)/g, '')
    .replace(/!SP_M\(\d+\)/g, '1')
    .replace('((lane_index() == 0))', '(lane_index() == 0)');
  expect(asleep).toBe(kernel);
});
