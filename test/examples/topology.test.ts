// The study of examples/topology with tiny settings: what it reports, and the parts it is made of.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { UsageError } from '../../examples/command-line.js';
import { Random } from '../../examples/random.js';
import { batchOf, findCoasts } from '../../examples/topology/coasts.js';
import { UNet } from '../../examples/topology/model.js';
import { defaults, readOptions } from '../../examples/topology/options.js';
import { reportPage, scoreLines } from '../../examples/topology/report.js';
import { study } from '../../examples/topology/study.js';
import { loadWorld } from '../../examples/topology/world.js';
import * as sp from '../../src/index.js';

const folder = mkdtempSync(join(tmpdir(), 'surprisal-'));
afterAll(() => rmSync(folder, { recursive: true }));

const tiny = {
  ...defaults,
  scale: 4,
  size: 32,
  width: 4,
  batch: 2,
  sharedSteps: 2,
  steps: 2,
  heldOut: 4,
};

describe('the study, with tiny settings', () => {
  test('trains with each loss from one start, scores and draws', async () => {
    const told: [string, number][] = [];
    const results = await study(tiny, (task, fraction) => told.push([task, fraction]));
    expect(results.trained.map(({ name }) => name)).toEqual([
      'Dice',
      'Dice + Betti matching',
      'Dice + clDice',
    ]);
    expect(results.pieces.heldOut).toBe(4);
    for (const { score, moments } of results.trained) {
      expect(score.dice).toBeGreaterThan(0);
      expect(score.dice).toBeLessThanOrEqual(1);
      expect(score.matchingError).toBeGreaterThanOrEqual(score.bettiNumberError);
      expect(moments.at(-1)).toEqual({ step: 4, ...score });
    }
    const tasks = [...new Set(told.map(([task]) => task))];
    expect(tasks).toHaveLength(5);
    for (const name of tasks) expect(told.filter(([task]) => task === name).at(-1)![1]).toBe(1);

    expect(scoreLines(results)).toHaveLength(4);
    const page = reportPage(results, 3, 'a machine');
    expect(page).not.toMatch(/<script|<link|<img|@import|url\(|https:/i);
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
    // Two curves, two matchings for each of three pieces, two barcodes.
    expect(page.match(/<svg[^>]*role="img"/g)).toHaveLength(10);
    expect(page).toContain(results.trained[1].score.matchingError.toFixed(2));
  });

  test('is the same again', async () => {
    const again = { ...tiny, sharedSteps: 1, steps: 1, heldOut: 2 };
    const [a, b] = [await study(again, () => {}), await study(again, () => {})];
    expect(a.trained).toEqual(b.trained);
  });
});

test('shows pieces by their place, whatever is found on them', async () => {
  const few = { ...tiny, sharedSteps: 1, steps: 1, heldOut: 3 };
  const { examples } = await study(few, () => {});
  const { heldOut } = findCoasts(loadWorld(few.scale), few.size);
  const placed = [0, 1, 2].map((i) => heldOut[Math.floor((i * heldOut.length) / 3)]);
  const places = (list: readonly { latitude: number; longitude: number }[]) =>
    list.map(({ latitude, longitude }) => [latitude, longitude]);
  expect(places(examples)).toEqual(places(placed));
});

test('pieces too large for the region are asked wrongly', async () => {
  const large = study({ ...tiny, scale: 1, size: 64 }, () => {});
  await expect(large).rejects.toThrow(UsageError);
  await expect(large).rejects.toThrow(/--size, --scale: .*64 pixels at 1 pixels a degree/);
});

describe('coasts', () => {
  const world = loadWorld(4);
  const at = (latitude: number, longitude: number) =>
    world.land[Math.floor((90 - latitude) * 4) * world.columns + Math.floor((longitude + 180) * 4)];

  test('land is where it is', () => {
    expect([at(48, 10), at(-25, 135), at(40, -100), at(-15, -55)]).toEqual([1, 1, 1, 1]);
    expect([at(0, -30), at(30, -150), at(-40, 90), at(42, 51)]).toEqual([0, 0, 0, 0]);
    // Both sides of the 180th meridian, and a row that an island lies across it in.
    expect([at(67, 179), at(67, -176), at(-85, 0), at(-16.52, -150)]).toEqual([1, 1, 1, 0]);
    const land = world.land.reduce((a, b) => a + b, 0) / world.land.length;
    expect(land).toBeGreaterThan(0.25);
    expect(land).toBeLessThan(0.4);
  });

  test('held-out pieces lie in a region of their own', () => {
    const { train, heldOut } = findCoasts(world, 32);
    expect(train.length).toBeGreaterThan(20);
    expect(heldOut.length).toBeGreaterThan(5);
    for (const { longitude } of heldOut) {
      expect(longitude).toBeGreaterThanOrEqual(95);
      expect(longitude + 8).toBeLessThanOrEqual(155);
    }
    for (const { longitude } of train) expect(longitude + 8 <= 95 || longitude >= 155).toBe(true);
    const { image, mask } = batchOf(train.slice(0, 2), 32, new Random(1));
    expect([image.shape, mask.shape]).toEqual([
      [2, 1, 32, 32],
      [2, 1, 32, 32],
    ]);
    const [lit, land] = [image, mask].map((t) => t.dataSync() as Float32Array);
    const mean = (value: number) => {
      const values = [...lit].filter((_, i) => land[i] === value);
      return values.reduce((a, b) => a + b, 0) / values.length;
    };
    expect(mean(1)).toBeGreaterThan(mean(0) + 0.3);
  });

  test('a model and its copy part when one learns', () => {
    sp.manualSeed(1);
    const model = new UNet(4);
    const copy = model.copy();
    const image = sp.randn([1, 1, 8, 8]);
    expect(copy.logits(image).toArray()).toEqual(model.logits(image).toArray());
    model.logits(image).sum().backward();
    new sp.optim.SGD(model.parameters, { lr: 0.1 }).step();
    expect(copy.logits(image).toArray()).not.toEqual(model.logits(image).toArray());
  });
});

test('the command line has defaults and says what is wrong', () => {
  const out = join(folder, 'a.html');
  expect(readOptions(['--steps', '3', '--out', out, '--device', 'cuda'])).toEqual({
    ...defaults,
    steps: 3,
    out,
    device: 'cuda',
  });
  expect(readOptions(['-h'])).toBe('help');
  expect(() => readOptions(['--size', '20'])).toThrow('--size: expected a multiple of 8, got 20');
  expect(() => readOptions(['--width', '6'])).toThrow(UsageError);
  expect(() => readOptions(['--betti-weight', '-1'])).toThrow(UsageError);
  expect(() => readOptions(['--stesp', '1'])).toThrow("Unknown option '--stesp'");
});
