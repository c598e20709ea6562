// Training with one of the losses, and what is measured of a model on coasts it never saw.
import { setImmediate } from 'node:timers/promises';
import * as sp from 'surprisal';
import { Random } from '../random.js';
import { type Batch, batchOf, type Coast } from './coasts.js';
import type { UNet } from './model.js';
import type { Settings } from './options.js';

export type LossName = 'Dice' | 'Dice + Betti matching' | 'Dice + clDice';

const names: readonly LossName[] = ['Dice', 'Dice + Betti matching', 'Dice + clDice'];
export const lossNames = names;

type Images = sp.Tensor<'float32'>;

function lossOf(name: LossName, logits: Images, mask: Images, settings: Settings): sp.Tensor {
  const dice = sp.diceLoss(logits, mask, { fromLogits: 'sigmoid' });
  if (name === 'Dice') return dice;
  if (name === 'Dice + clDice') {
    const clDice = sp.clDice(logits, mask, { fromLogits: true, iterations: 5, sums: 'image' });
    return dice.add(clDice.mul(settings.clDiceWeight));
  }
  const betti = sp.bettiMatchingLoss(logits, mask, { fromLogits: true });
  return dice.add(betti.mul(settings.bettiWeight));
}

/** Means over the held-out pieces. */
export interface Score {
  /** 2|A∩B|/(|A| + |B|) of the masks. */
  dice: number;
  /** Islands and waters too many or too few. */
  bettiNumberError: number;
  /** Those without a partner in the right place. */
  matchingError: number;
}

/** Probabilities, piece by piece. */
export function predict(model: UNet, { image }: Batch): Images {
  return sp.noGrad(() => sp.sigmoid(model.logits(image))) as Images;
}

export function score(model: UNet, batch: Batch): Score {
  return sp.scope(() => {
    const p = predict(model, batch);
    const matches = sp.bettiMatchingBatch(p, batch.mask).flat();
    const [found, truth] = [p, batch.mask].map((t) => t.dataSync() as Float32Array);
    const each = found.length / matches.length;
    const total: Score = { dice: 0, bettiNumberError: 0, matchingError: 0 };
    for (const [i, match] of matches.entries()) {
      let [both, sum] = [0, 0];
      for (let k = i * each; k < (i + 1) * each; k++) {
        const [a, b] = [found[k] >= 0.5 ? 1 : 0, truth[k]];
        both += a * b;
        sum += a + b;
      }
      total.dice += sum === 0 ? 1 : (2 * both) / sum;
      total.bettiNumberError += match.bettiNumberError;
      total.matchingError += match.matchingError;
    }
    const n = matches.length;
    const { dice, bettiNumberError, matchingError } = total;
    return {
      dice: dice / n,
      bettiNumberError: bettiNumberError / n,
      matchingError: matchingError / n,
    };
  });
}

export interface Moment extends Score {
  step: number;
}

export interface Training {
  name: LossName;
  steps: number;
  /** Numbers of steps before this part, which decide the noise and the pieces that it sees. */
  after: number;
}

const scoresEach = 30; // steps

/** Trains the model in place; the scores on the way. `tell` gets the share that is done and the loss. */
export async function train(
  model: UNet,
  { name, steps, after }: Training,
  pieces: readonly Coast[],
  heldOut: Batch,
  settings: Settings,
  tell: (fraction: number, loss: number) => void,
): Promise<Moment[]> {
  const { batch, learningRate, size, seed } = settings;
  // Half a cosine: the last steps are small.
  let step = 0;
  const lr = () => learningRate * (0.5 + 0.5 * Math.cos((Math.PI * step) / steps));
  const adam = new sp.optim.Adam([{ params: model.parameters, lr }]);
  const moments: Moment[] = [];
  for (; step < steps; step++) {
    const random = new Random(seed, after + step);
    const chosen = Array.from(
      { length: batch },
      () => pieces[Math.floor(random.next() * pieces.length)],
    );
    const value = sp.scope(() => {
      const { image, mask } = batchOf(chosen, size, random);
      const loss = lossOf(name, model.logits(image), mask, settings);
      loss.backward();
      adam.step();
      adam.zeroGrad();
      return loss.item() as number;
    });
    const done = step + 1;
    if (done % scoresEach === 0 || done === steps)
      moments.push({ step: after + done, ...score(model, heldOut) });
    tell(done / steps, value);
    await setImmediate();
  }
  return moments;
}
