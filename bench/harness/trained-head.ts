// The head of a trained model with real text before it: what filtering gradients has to be judged
// on, since on random data nearly every block falls below any threshold. The file is a checkpoint
// of the demo (npm run demo -- --save), whose held-out text is then scored, or has the tensors
// x [N, D], weight [V, D], target [N] and maybe bias [V].
import { loadCheckpoint } from '../../examples/language-model/checkpoint.js';
import { loadCorpus, TrainingBatches } from '../../examples/language-model/data.js';
import * as sp from '../../src/index.js';
import type { Head } from './head.js';

const tokens = 1024;

export async function trainedHead(path: string): Promise<Head> {
  const tensors = await sp.loadSafetensors(path);
  if ('model.head' in tensors) return await demoHead(path);
  const { x, weight, target, bias } = tensors as unknown as Head;
  if (!x || !weight || !target) throw new Error(`${path}: expected tensors x, weight and target`);
  return { x: x.requiresGrad_(), weight: weight.requiresGrad_(), target, bias };
}

async function demoHead(path: string): Promise<Head> {
  const corpus = loadCorpus();
  const { model, settings } = await loadCheckpoint(path, corpus, {});
  const rows = Math.ceil(tokens / settings.length);
  const batch = new TrainingBatches(corpus.heldOut, rows, settings.length, 1).at(0);
  const { head, bias } = model.weights;
  return {
    x: sp.noGrad(() => model.features(batch)).requiresGrad_(),
    weight: head,
    target: sp.tensor(batch.targets),
    bias: bias.detach(),
  };
}
