// The whole study: what is computed, in which order, and what of it the report shows.
import { setImmediate } from 'node:timers/promises';
import * as sp from 'surprisal';
import type { TaskReport } from '../progress.js';
import { type Damage, drawPair, type Pair } from './clouds.js';
import { type Curve, errorCurve } from './convergence.js';
import { divergences, type LetterPlan, letterPlan } from './distances.js';
import { type Embedding, embed } from './embedding.js';
import { type Language, loadLanguages, withTwin } from './languages.js';
import { nearest, travel, twinShare } from './neighbours.js';
import {
  type Descent,
  type Matches,
  matches,
  optionsAt,
  type Registration,
  register,
} from './register.js';

export interface Settings {
  seed: number;
  /** Fewer points, steps and languages. */
  quick: boolean;
}

/** Told how much of a task is done, in [0, 1], and in words where it is. */
export interface RegistrationCase {
  name: string;
  descent: Descent;
  damage: Damage;
  pair: Pair;
  found: Registration;
  matches: Matches;
}

export interface LanguageMap {
  languages: Language[];
  distances: Float64Array;
  embedding: Embedding;
  neighbours: number[][];
  twins: ReturnType<typeof twinShare>;
  travel: ReturnType<typeof travel>;
  problems: number;
  /** Wall-clock seconds of the divergences. */
  seconds: number;
  plan: LetterPlan;
}

export interface Results {
  settings: Settings;
  registrations: RegistrationCase[];
  curves: Curve[];
  map: LanguageMap;
}

const clean: Damage = { noise: 0, cropped: 0 };
const damaged: Damage = { noise: 0.02, cropped: 0.3 };

/** Turned by 50° about an oblique axis and shifted by half the cloud's radius. */
function trueMotion() {
  const axis = [0.48, 0.8, 0.36];
  const angle = (50 * Math.PI) / 180;
  return { turn: sp.tensor(axis.map((v) => v * angle)), shift: sp.tensor([0.4, -0.2, 0.25]) };
}

async function registrations({ quick }: Settings, report: TaskReport): Promise<RegistrationCase[]> {
  const points = quick ? 160 : 600;
  const steps = quick ? 50 : 60;
  const coarse = { steps, blur: [0.5, 0.1] } as const;
  const fine = { steps, blur: [0.5, 0.05] } as const;
  const cases: [string, Damage, Descent][] = [
    ['moved', clean, coarse],
    ['cropped, all mass moved', damaged, fine],
    ['cropped, reach 1 to 0.2', damaged, { ...fine, reach: [1, 0.2] }],
  ];
  const results: RegistrationCase[] = [];
  const pairs = new Map([clean, damaged].map((d) => [d, drawPair(points, trueMotion(), d)]));
  for (const [name, damage, descent] of cases) {
    const pair = pairs.get(damage)!;
    const found = await register(pair, descent, (step, loss, error) =>
      report(name, step / steps, [
        `step ${step}`,
        `divergence ${loss.toExponential(2)}`,
        `${error.degrees.toFixed(2)}° off`,
      ]),
    );
    const options = optionsAt(descent, steps);
    results.push({
      name,
      descent,
      damage,
      pair,
      found,
      matches: matches(pair, found.motion, options),
    });
  }
  return results;
}

async function convergence({ quick }: Settings, { pair }: RegistrationCase, report: TaskReport) {
  const [x, y] = [pair.source, pair.target].map((t) => t.to('float64'));
  const blurs = quick ? [0.4, 0.1] : [0.4, 0.2, 0.1, 0.05];
  const curves: Curve[] = [];
  for (const [i, blur] of blurs.entries()) {
    curves.push(errorCurve(x, y, blur, quick ? 200 : 1000));
    report('convergence', (i + 1) / blurs.length, [`blur ${blur}`]);
    await setImmediate();
  }
  return curves;
}

async function languageMap({ quick }: Settings, report: TaskReport): Promise<LanguageMap> {
  const all = loadLanguages();
  const languages = quick ? withTwin(all) : all;
  const withCode = (code: string) => languages.find((language) => language.code === code)!;
  const start = performance.now();
  const values = await divergences(languages, (done, problems) =>
    report('languages', done / problems, [`${done.toLocaleString('en-US')} divergences`]),
  );
  const seconds = (performance.now() - start) / 1000;
  // Half a squared distance, as the cost is: S of a cloud and its shifted copy is |shift|²/2.
  const distances = values.map((value) => Math.sqrt(2 * value));
  const neighbours = nearest(distances, 10);
  return {
    languages,
    distances,
    embedding: embed(distances),
    neighbours,
    twins: twinShare(languages, neighbours),
    travel: travel(languages, neighbours),
    problems: (languages.length * (languages.length - 1)) / 2,
    seconds,
    plan: letterPlan(withCode('spa'), withCode('fin')),
  };
}

export async function study(settings: Settings, report: TaskReport): Promise<Results> {
  sp.manualSeed(settings.seed);
  const cases = await registrations(settings, report);
  const curves = await convergence(settings, cases[0], report);
  const map = await languageMap(settings, report);
  return { settings, registrations: cases, curves, map };
}
