// The study of examples/transport in its quick form: what it finds, and the parts it is made of.
import { spawnSync } from 'node:child_process';
import { beforeAll, describe, expect, test } from 'vitest';
import { UsageError } from '../../examples/command-line.js';
import { embed } from '../../examples/transport/embedding.js';
import { loadLanguages } from '../../examples/transport/languages.js';
import { countLetters, pointOf } from '../../examples/transport/letters.js';
import { kilometres, nearest, twinShare } from '../../examples/transport/neighbours.js';
import { readOptions } from '../../examples/transport/options.js';
import {
  neighbourLines,
  registrationLines,
  reportPage,
  small,
} from '../../examples/transport/report.js';
import { motionError, moved, rotation } from '../../examples/transport/rigid.js';
import { type Results, study } from '../../examples/transport/study.js';
import * as sp from '../../src/index.js';

describe('the study, in its quick form', () => {
  let results: Results;
  const told: [string, number][] = [];
  beforeAll(async () => {
    results = await study({ seed: 1, quick: true }, (task, fraction) => {
      told.push([task, fraction]);
    });
  }, 120_000);

  test('finds the motion of the moved cloud, and every partner', () => {
    const [{ found, matches }] = results.registrations;
    expect(found.degrees[0]).toBeCloseTo(50, 3);
    // What marginals that hold to 1e-4 leave, with room for other iterates.
    expect(found.error.degrees).toBeLessThan(0.05);
    expect(found.error.shift).toBeLessThan(1e-3);
    expect(matches.correct).toBe(1);
    expect(found.losses.at(-1)!).toBeLessThan(1e-4 * found.losses[0]);
  });

  test('finds that of the cropped and noisy one only where mass may be given up', () => {
    const [, balanced, reached] = results.registrations;
    expect(reached.found.error.degrees).toBeLessThan(1);
    expect(reached.found.error.shift).toBeLessThan(0.02);
    expect(balanced.found.error.degrees).toBeGreaterThan(5 * reached.found.error.degrees);
    expect(reached.matches.correct).toBeGreaterThan(0.9);
    expect(reached.matches.correct).toBeGreaterThan(balanced.matches.correct);
  });

  test('what was cropped is what the plan gives up', () => {
    const { pair, matches } = results.registrations[2];
    const mean = (isThere: boolean) => {
      const mass = [...matches.carried].filter((_, i) => pair.partner[i] >= 0 === isThere);
      return mass.reduce((a, b) => a + b, 0) / mass.length;
    };
    expect(mean(true)).toBeGreaterThan(0.8);
    expect(mean(false)).toBeLessThan(0.6);
  });

  test('iterations converge, the slower the smaller the blur', () => {
    const needed = results.curves.map(({ points }) => points.find(({ y }) => y <= 1e-3)!.x);
    for (const { points } of results.curves) expect(points.at(-1)!.y).toBeLessThan(1e-6);
    expect(needed[0]).toBeLessThan(needed[1]);
  });

  test('distances are symmetric, and texts of one language lie next to each other', () => {
    const { distances, languages, twins, neighbours } = results.map;
    const n = languages.length;
    expect(n).toBeGreaterThan(70);
    for (let i = 0; i < n; i++) {
      expect(distances[i * n + i]).toBe(0);
      for (let j = 0; j < i; j++) expect(distances[i * n + j]).toBe(distances[j * n + i]);
    }
    expect(distances.every((d) => d >= 0 && d < 2)).toBe(true);
    expect(twins.texts).toBe(n);
    expect(twins.share).toBeGreaterThan(0.8);
    const nearestTo = (code: string) =>
      languages[neighbours[languages.findIndex((language) => language.code === code)][0]].code;
    expect(nearestTo('por_PT')).toBe('por_BR');
    expect(nearestTo('deu_1901')).toBe('deu_1996');
    expect(nearestTo('tso_MZ')).toBe('tso_ZW');
  });

  test('the map keeps most of the distances', () => {
    const { stress, places } = results.map.embedding;
    expect(places.every(Number.isFinite)).toBe(true);
    expect(stress.at(-1)!).toBeLessThan(0.35);
    expect(stress.at(-1)!).toBeLessThan(stress[0]);
  });

  test('the plan between letters has the weights of both as its marginals', () => {
    const { from, to, plan } = results.map.plan;
    const m = to.weights.length;
    const rows = from.weights.map((_, i) => plan.subarray(i * m, i * m + m));
    for (const [i, row] of rows.entries()) {
      expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(from.weights[i], 2);
    }
    // Most letters stay what they are.
    const stays = from.letters.map((letter, i) => rows[i][to.letters.indexOf(letter)] ?? 0);
    expect(stays.reduce((a, b) => a + b, 0)).toBeGreaterThan(0.6);
  });

  test('every task is told of to its end', () => {
    const tasks = [...new Set(told.map(([task]) => task))];
    expect(tasks).toHaveLength(5);
    for (const name of tasks) expect(told.filter(([task]) => task === name).at(-1)![1]).toBe(1);
  });

  test('the report needs nothing but itself and states the figures', () => {
    const page = reportPage(results, 3);
    expect(page).not.toMatch(/<script|<link|<img|@import|url\(|https?:/i);
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
    expect(page.match(/<svg[^>]*role="img"[^>]*aria-labelledby/g)).toHaveLength(7);
    expect(page).toContain('prefers-color-scheme: dark');
    const { degrees } = results.registrations[2].found.error;
    expect(page).toContain(`${small(degrees)}°`);
    for (const name of ['Portuguese (Brazil)', 'cropped, reach']) expect(page).toContain(name);
    expect(registrationLines(results)).toHaveLength(3);
    expect(neighbourLines(results.map).join('\n')).toContain(
      'Portuguese (Portugal): Portuguese (B',
    );
  });
});

describe('motions', () => {
  test('are rotations, at 0 too, and have gradients there', () => {
    for (const w of [
      [0, 0, 0],
      [0.3, -1.1, 0.7],
    ]) {
      const turn = sp.tensor(w, { dtype: 'float64', requiresGrad: true });
      const r = rotation(turn);
      const unit = sp.matmul(r, r, { transposeB: true }).dataSync() as Float64Array;
      for (const [i, value] of unit.entries()) expect(value).toBeCloseTo(i % 4 === 0 ? 1 : 0, 7);
      expect(sp.gradcheck((t: sp.Tensor) => rotation(t), [turn], { atol: 1e-6 })).toBe(true);
    }
  });

  test('turn by the right hand, then shift', () => {
    const turn = sp.tensor([0, 0, Math.PI / 2], { dtype: 'float64' });
    const shift = sp.tensor([1, 2, 3], { dtype: 'float64' });
    const point = sp.tensor([[1, 0, 0]], { dtype: 'float64' });
    const [x, y, z] = moved(point, { turn, shift }).dataSync() as Float64Array;
    expect([x, y, z].map((v) => Math.round(v * 1e6) / 1e6)).toEqual([1, 3, 3]);
    const none = { turn: sp.zeros([3], { dtype: 'float64' }), shift };
    expect(motionError({ turn, shift }, none).degrees).toBeCloseTo(90, 5);
  });
});

describe('letters', () => {
  test('are counted with their accents, in one case, and nothing else', () => {
    const { counts, others } = countLetters('Él, İL: él 12 ß ª ж');
    expect(Object.fromEntries(counts)).toEqual({ é: 2, l: 3, i: 1, ß: 1 });
    expect(others).toBe(1);
  });

  test('cost what it takes to speak them otherwise', () => {
    const cost = (a: string, b: string) => {
      const [p, q] = [pointOf(a)!.point, pointOf(b)!.point];
      return p.reduce((sum, value, i) => sum + (value - q[i]) ** 2, 0) / 2;
    };
    expect(cost('b', 'p')).toBeCloseTo(0.08, 5);
    expect(cost('e', 'é')).toBeCloseTo(0.125, 5);
    expect(cost('n', 't')).toBeCloseTo(0.4, 5);
    expect(cost('a', 't')).toBeGreaterThan(1);
    expect(pointOf('ж')).toBeUndefined();
    expect(pointOf('é')!.label).toBe(pointOf('e')!.label);
    expect(pointOf('y')!.label).not.toBe(pointOf('j')!.label);
  });

  test('no two letters of a text lie at one place', () => {
    const wrong = loadLanguages().filter(({ letters, weights }) => {
      const places = new Set(letters.map((letter) => Object.values(pointOf(letter)!).join()));
      const total = weights.reduce((a, b) => a + b, 0);
      return places.size < letters.length || Math.abs(total - 1) > 1e-12;
    });
    expect(wrong.map(({ name }) => name)).toEqual([]);
  });
});

describe('maps', () => {
  test('of points in a plane are exact', () => {
    const points = Array.from({ length: 12 }, (_, i) => [3 * Math.cos(i * i), Math.sin(7 * i)]);
    const distances = Float64Array.from(
      points.flatMap(([a, b]) => points.map(([c, d]) => Math.hypot(a - c, b - d))),
    );
    const { places, stress } = embed(distances, 50);
    expect(stress.at(-1)!).toBeLessThan(1e-6);
    const between = Math.hypot(places[0] - places[2], places[1] - places[3]);
    expect(between).toBeCloseTo(distances[1], 6);
  });

  test('of one place and of equal places do not fail', () => {
    for (const n of [1, 3]) {
      const { places } = embed(new Float64Array(n * n), 3);
      expect([...places]).toEqual(new Array(2 * n).fill(0));
    }
  });

  test('neighbours, twins and ways on the globe', () => {
    const at = (iso: string, latitude: number, longitude: number) => ({
      ...{ code: iso, name: iso, letters: [], weights: [] },
      ...{ iso, latitude, longitude },
    });
    const languages = [at('a', 0, 0), at('a', 0, 90), at('b', 0, 179)];
    const distances = Float64Array.of(0, 2, 1, 2, 0, 3, 1, 3, 0);
    const neighbours = nearest(distances, 2);
    expect(neighbours).toEqual([
      [2, 1],
      [0, 2],
      [0, 1],
    ]);
    expect(twinShare(languages, neighbours)).toEqual({ texts: 2, found: 1, share: 0.5 });
    expect(kilometres(languages[0], languages[1])).toBeCloseTo((6371 * Math.PI) / 2, 6);
  });
});

describe('the command line', () => {
  test('has defaults and says what is wrong', () => {
    expect(readOptions([])).toEqual({ quick: false, seed: 1, out: 'build/transport/report.html' });
    expect(readOptions(['--quick', '--seed', '7'])).toMatchObject({ quick: true, seed: 7 });
    expect(readOptions(['-h'])).toBe('help');
    expect(() => readOptions(['--seed', 'x'])).toThrow(UsageError);
    expect(() => readOptions(['--out', 'no/such/folder/a.html'])).toThrow('existing folder');
  });

  test('npm run demo knows the examples by name', () => {
    const { status, stderr } = spawnSync(process.execPath, ['scripts/demo.mjs', 'moby'], {
      encoding: 'utf8',
    });
    expect(status).toBe(1);
    expect(stderr).toBe("demo: expected one of language-model, topology, transport, got 'moby'\n");
  });
});
