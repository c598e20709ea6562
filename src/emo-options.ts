// The options of the earth mover losses, with and without logits: checks and native form.
import { floats } from './dtype.js';
import { expectBoolean, expectDType, expectNumber, expectOneOf, expectShape } from './expect.js';
import { type LossReduction, reductions } from './loss-options.js';
import type { Tensor } from './tensor.js';

const combinations = ['emo', 'emo1', 'emo2'] as const;

/** What `emo` and `linearEmo` share. */
export interface EmoRules<R extends LossReduction = LossReduction> {
  /**
   * 'emo1' (default): (sg(mle/emo)·emo + mle)/2, as for instruction tuning; 'emo2':
   * sg(emo/mle)·mle + emo, as for continued pre-training; 'emo': the distance alone.
   */
  combination?: (typeof combinations)[number] | undefined;
  /** Counts the label's own probability in the distance; default false, the current official form. */
  plain?: boolean | undefined;
  /** The distance is at least this, and constant below; default 0, below which it only rounds. */
  minEmo?: number | undefined;
  /** The ratio between the two losses is at most this; default none. One official variant: 3. */
  maxRatio?: number | undefined;
  /** Default 'mean': divides by the sum of tokenWeight over rows that are not ignored. */
  reduction?: R | undefined;
  /** Rows with this target give loss 0 and gradient 0, whatever they hold; default -100. */
  ignoreIndex?: number | undefined;
  /** One weight per row, any float dtype, differentiable. */
  tokenWeight?: Tensor | undefined;
}

export const emoRuleNames = [
  'combination',
  'plain',
  'minEmo',
  'maxRatio',
  'reduction',
  'ignoreIndex',
] as const;

export function checkEmoRules(op: string, options: EmoRules, target: Tensor): void {
  expectOneOf(op, 'combination', options.combination ?? 'emo1', combinations);
  expectBoolean(op, 'plain', options.plain ?? false);
  expectNumber(op, 'minEmo', options.minEmo ?? 0, { min: 0 });
  expectNumber(op, 'maxRatio', options.maxRatio ?? 1, { above: 0 });
  expectOneOf(op, 'reduction', options.reduction ?? 'mean', reductions);
  expectNumber(op, 'ignoreIndex', options.ignoreIndex ?? -100, { integer: true });
  const { tokenWeight } = options;
  if (!tokenWeight) return;
  expectDType(op, 'tokenWeight', tokenWeight, floats);
  expectShape(op, 'tokenWeight', tokenWeight, target.shape, 'like target');
}

export const emoRuleFields = (options: EmoRules) => ({
  combination: combinations.indexOf(options.combination ?? 'emo1'),
  plain: options.plain ?? false,
  floor: options.minEmo ?? 0,
  ceiling: options.maxRatio ?? 0,
  reduction: reductions.indexOf(options.reduction ?? 'mean'),
  ignoreIndex: options.ignoreIndex ?? -100,
});
