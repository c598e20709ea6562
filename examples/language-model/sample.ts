// A sentence or two in the model's words: tokens drawn one by one from softmax(z / temperature).

import { Random } from '../random.js';
import { textOf, tokensOf } from './data.js';
import type { LanguageModel } from './model.js';

const temperature = 0.7;
const mostTokens = 60;
const fewestCharacters = 50;

function drawn(logits: Float32Array, random: Random): number {
  const max = logits.reduce((a, b) => Math.max(a, b));
  const weights = logits.map((z) => Math.exp((z - max) / temperature));
  let left = random.next() * weights.reduce((a, b) => a + b, 0);
  const token = weights.findIndex((weight) => {
    left -= weight;
    return left < 0;
  });
  return token < 0 ? logits.indexOf(max) : token; // rounding may leave a little over
}

/** Continues `start` to the end of a sentence, past ends that come too soon to tell anything. */
export function sentence(model: LanguageModel, start: string, seed: number): string {
  const random = new Random(seed, mostTokens);
  const tokens = tokensOf(start);
  for (let i = 0; i < mostTokens; i++) {
    tokens.push(drawn(model.logitsAfter(tokens), random));
    const text = textOf(tokens).replace(/\s+/g, ' ');
    if (text.length >= fewestCharacters && /[.!?]["”’]?\s?$/.test(text)) return text.trim();
  }
  return `${textOf(tokens).replace(/\s+/g, ' ')} ...`;
}
