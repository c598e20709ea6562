// The whole study: one model trained with Dice, then a copy of it for each loss over the same pieces
// and noise; what they score, and how the predictions of two of them match a mask.
import * as sp from 'surprisal';
import { UsageError } from '../command-line.js';
import type { TaskReport } from '../progress.js';
import { Random } from '../random.js';
import { batchOf, type Coast, findCoasts } from './coasts.js';
import { UNet } from './model.js';
import type { Settings } from './options.js';
import {
  type LossName,
  lossNames,
  type Moment,
  predict,
  type Score,
  score,
  train,
} from './train.js';
import { loadWorld } from './world.js';

export interface Trained {
  name: LossName;
  score: Score;
  moments: Moment[];
}

/** One held-out piece: the matching of each prediction with the mask, and its barcode, drawn. */
export interface Example {
  latitude: number;
  longitude: number;
  drawings: { name: LossName; matching: string; barcode: string; error: number }[];
}

export interface Results {
  settings: Settings;
  weights: number;
  pieces: { train: number; heldOut: number };
  /** On the way to where the losses part. */
  shared: Moment[];
  trained: Trained[];
  examples: Example[];
}

/** Every so many of a list, which is spread over the region as the list is. */
function spread<T>(list: readonly T[], count: number): T[] {
  const n = Math.min(count, list.length);
  return Array.from({ length: n }, (_, i) => list[Math.floor((i * list.length) / n)]);
}

const exampleCount = 3;

/** Pieces all over the held-out region, whatever was found on them. */
function examplesOf(
  models: ReadonlyMap<LossName, UNet>,
  pieces: readonly Coast[],
  settings: Settings,
): Example[] {
  const { size, seed } = settings;
  const shown = [...models].slice(0, 2);
  return spread(pieces, exampleCount).map((piece, i): Example => {
    const batch = batchOf([piece], size, new Random(seed, i, 7));
    const drawings = shown.map(([name, model]) => {
      const [p, mask] = [predict(model, batch), batch.mask].map((t) => t.reshape([size, size]));
      const match = sp.bettiMatching(p, mask);
      const barcode = sp.persistenceBarcode(p);
      return {
        name,
        matching: match.toSVG({ most: 40 }),
        barcode: barcode.toSVG(),
        error: match.matchingError,
      };
    });
    return { latitude: piece.latitude, longitude: piece.longitude, drawings };
  });
}

export async function study(settings: Settings, report: TaskReport): Promise<Results> {
  const { scale, size, width, steps, sharedSteps, seed } = settings;
  report('Coasts', 0, []);
  const coasts = findCoasts(loadWorld(scale), size);
  if (coasts.train.length === 0 || coasts.heldOut.length === 0) {
    const found = `${coasts.train.length} to learn from and ${coasts.heldOut.length} to hold out`;
    throw new UsageError(
      `--size, --scale: expected coasts of ${size} pixels at ${scale} pixels a degree, found ${found}`,
    );
  }
  const pieces = spread(coasts.heldOut, settings.heldOut);
  report('Coasts', 1, [`${coasts.train.length} to learn from`, `${pieces.length} held out`]);
  const heldOut = batchOf(pieces, size, new Random(seed, 2 ** 20));
  sp.manualSeed(seed);
  const first = new UNet(width);
  const run = (task: string, model: UNet, name: LossName, count: number, after: number) =>
    train(model, { name, steps: count, after }, coasts.train, heldOut, settings, (done, loss) =>
      report(task, done, [`step ${Math.round(done * count)}`, `loss ${loss.toFixed(3)}`]),
    );
  const shared = await run('Dice, shared steps', first, 'Dice', sharedSteps, 0);
  const models = new Map<LossName, UNet>();
  const trained: Trained[] = [];
  for (const name of lossNames) {
    const model = first.copy();
    const moments = await run(name, model, name, steps, sharedSteps);
    models.set(name, model);
    trained.push({ name, score: score(model, heldOut), moments });
  }
  return {
    settings,
    weights: first.parameters.reduce((sum, w) => sum + w.size, 0),
    pieces: { train: coasts.train.length, heldOut: pieces.length },
    shared,
    trained,
    examples: examplesOf(models, pieces, settings),
  };
}
