// An option that is undefined is one that was not given, as the types say: under
// exactOptionalPropertyTypes, too, options may be put together from what there is.
import { expect, test } from 'vitest';
import * as sp from '../../src/index.js';

type Call = (options: object) => unknown;

sp.manualSeed(3);
const [x, logits, weight] = [sp.rand([2, 3]), sp.randn([4, 5]), sp.randn([5, 3])];
const [hidden, cost] = [sp.randn([4, 3]), sp.rand([3, 4])];
const ids = sp.randint(5, [4]);
const [maps, masks, image] = [sp.rand([1, 2, 6, 6]), sp.zeros([1, 2, 6, 6]), sp.rand([6, 6])];
const classes = sp.zeros([1, 6, 6], { dtype: 'int64' });

const calls: Readonly<Record<string, Call>> = {
  sum: (o) => sp.sum(x, o),
  std: (o) => sp.std(x, o),
  argmax: (o) => sp.argmax(x, o),
  norm: (o) => sp.norm(x, o),
  softmax: (o) => sp.softmax(x, o),
  layerNorm: (o) => sp.layerNorm(x, o),
  gelu: (o) => sp.gelu(x, o),
  cumsum: (o) => sp.cumsum(x, o),
  sort: (o) => sp.sort(x, o),
  matmul: (o) => sp.matmul(hidden, cost, o),
  cdist: (o) => sp.cdist(x, x, o),
  conv2d: (o) => sp.conv2d(maps, sp.ones([1, 2, 3, 3]), o),
  convTranspose2d: (o) => sp.convTranspose2d(maps, sp.ones([2, 1, 3, 3]), o),
  groupNorm: (o) => sp.groupNorm(maps, 1, o),
  crossEntropy: (o) => sp.crossEntropy(logits, ids, o),
  linearCrossEntropy: (o) => sp.linearCrossEntropy(hidden, weight, ids, o),
  linearLogprobs: (o) => sp.linearLogprobs(hidden, weight, ids, o).logprob,
  linearArgmax: (o) => sp.linearArgmax(hidden, weight, o),
  divergence: (o) => sp.divergence(logits, logits, o),
  sinkd: (o) => sp.sinkd(logits, logits, o),
  uldLoss: (o) => sp.uldLoss(logits, logits, o),
  linearEmo: (o) => sp.linearEmo(hidden, weight, ids, o),
  sinkhornDivergence: (o) => sp.sinkhornDivergence(x, hidden, o),
  sinkhorn: (o) => sp.sinkhorn(cost, o).value,
  sinkhornKnopp: (o) => sp.sinkhornKnopp(cost, o),
  emd: (o) => sp.emd(cost, o).value,
  focalLoss: (o) => sp.focalLoss(maps, masks, o),
  diceLoss: (o) => sp.diceLoss(maps, masks, o),
  tverskyLoss: (o) => sp.tverskyLoss(maps, masks, o),
  skeletonRecallLoss: (o) => sp.skeletonRecallLoss(maps, masks, o),
  clDice: (o) => sp.clDice(maps, masks, o),
  softSkeleton: (o) => sp.softSkeleton(maps, o),
  regionWiseLoss: (o) => sp.regionWiseLoss(maps, classes, o),
  warpingLoss: (o) => sp.warpingLoss(maps, classes, o),
  topographLoss: (o) => sp.topographLoss(maps, masks, o),
  bettiMatchingLoss: (o) => sp.bettiMatchingLoss(maps, masks, o),
  bettiMatching: (o) => sp.bettiMatching(image, image, o).matchingError,
  AdamW: (o) => new sp.optim.AdamW([sp.zeros([2])], o).lr,
  SGD: (o) => new sp.optim.SGD([sp.zeros([2])], o).lr,
  zeros: (o) => sp.zeros([2], o),
};

/** The names that an operation knows, as its refusal of any other lists them. */
function namesOf(call: Call): string[] {
  try {
    call({ thereIsNoSuchOption: 1 });
  } catch (error) {
    const list = / among (.*?), got /.exec((error as Error).message);
    return (list?.[1] ?? '').split(', ').filter((name) => !name.includes('.'));
  }
  throw new Error('an unknown option was taken');
}

const values = (result: unknown) => (result instanceof sp.Tensor ? result.dataSync() : result);

test.each(Object.entries(calls))('%s takes options that are undefined', (_, call) => {
  const names = namesOf(call);
  expect(names.length).toBeGreaterThan(0);
  const absent = Object.fromEntries(names.map((name) => [name, undefined]));
  expect(values(call(absent))).toEqual(values(call({})));
});
