// Checkpoints: one safetensors file with the weights, the optimiser's state, the settings and the
// loss of every step so far. saveSafetensors replaces a file in one step, so whatever happens, the
// name holds a whole checkpoint.
import * as sp from 'surprisal';
import { UsageError } from '../command-line.js';
import type { Corpus } from './data.js';
import { resumedSettings, type Settings } from './options.js';
import { Trainer } from './train.js';

type Tensors = Record<string, sp.Tensor>;

const prefixed = (prefix: string, tensors: Readonly<Tensors>): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([name, t]) => [`${prefix}.${name}`, t]));

function below(prefix: string, tensors: Readonly<Tensors>): Tensors {
  const inside = Object.entries(tensors).filter(([name]) => name.startsWith(`${prefix}.`));
  return Object.fromEntries(inside.map(([name, t]) => [name.slice(prefix.length + 1), t]));
}

export async function saveCheckpoint(path: string, trainer: Trainer): Promise<void> {
  const { history, settings } = trainer;
  const tensors: Tensors = {
    ...prefixed('model', trainer.model.weights),
    ...prefixed('optimizer', trainer.optimizer.state()),
    'history.loss': sp.tensor(Float64Array.from(history, (step) => step.loss)),
    'history.seconds': sp.tensor(Float64Array.from(history, (step) => step.seconds)),
  };
  await sp.saveSafetensors(path, tensors, { metadata: { settings: JSON.stringify(settings) } });
}

/** A trainer as it was when the checkpoint was written. `asked` must not contradict it. */
export async function loadCheckpoint(
  path: string,
  corpus: Corpus,
  asked: Partial<Settings>,
): Promise<Trainer> {
  const { settings } = await sp.loadSafetensorsMetadata(path);
  if (!settings) throw new UsageError(`--resume: ${path} is not a checkpoint of this program`);
  const trainer = new Trainer(corpus, resumedSettings(asked, JSON.parse(settings)));
  const tensors = await sp.loadSafetensors(path);
  const weights = below('model', tensors);
  for (const [name, weight] of Object.entries(trainer.model.weights)) weight.copy_(weights[name]);
  trainer.optimizer.loadState(below('optimizer', tensors));
  const losses = tensors['history.loss'].dataSync() as Float64Array;
  const seconds = tensors['history.seconds'].dataSync() as Float64Array;
  for (const [i, loss] of losses.entries()) trainer.history.push({ loss, seconds: seconds[i] });
  for (const t of Object.values(tensors)) t.dispose();
  return trainer;
}
