// The model to beat: every token is drawn from the frequencies of the training text, whatever came
// before it. p(v) = (count(v) + α) / (N + αV), additive smoothing (Lidstone 1920) with α = 0.1,
// about the best for this text and vocabulary.

const alpha = 0.1;

/** log p(v) of every token of the vocabulary. */
export function unigramLogProbabilities(train: Int32Array, vocabulary: number): Float32Array {
  const counts = new Uint32Array(vocabulary);
  for (const token of train) counts[token]++;
  const total = train.length + alpha * vocabulary;
  return Float32Array.from(counts, (count) => Math.log((count + alpha) / total));
}

/** exp of the mean surprisal of every token but the first, which has no context to predict it. */
export function unigramPerplexity(heldOut: Int32Array, logProbabilities: Float32Array): number {
  let sum = 0;
  for (const token of heldOut.subarray(1)) sum -= logProbabilities[token];
  return Math.exp(sum / (heldOut.length - 1));
}
