// What the study found, in lines for the terminal and as a page with pictures.
import { type Line, lineChart } from '../chart.js';
import { figure, page, settingsTable, tile } from '../page.js';
import { minutes, thousands } from '../progress.js';
import type { Example, Results, Trained } from './study.js';
import type { Moment } from './train.js';

const styles = ['one', 'two', 'three'];

export function scoreLines({ trained }: Results): string[] {
  const width = Math.max(...trained.map(({ name }) => name.length));
  const head = `${''.padEnd(width)}   Dice   Betti number error   Betti matching error`;
  return [
    head,
    ...trained.map(({ name, score: { dice, bettiNumberError, matchingError } }) =>
      [
        name.padEnd(width),
        dice.toFixed(3).padStart(6),
        bettiNumberError.toFixed(2).padStart(20),
        matchingError.toFixed(2).padStart(22),
      ].join(' '),
    ),
  ];
}

function curves(
  { shared, trained }: Results,
  of: 'dice' | 'matchingError',
  title: string,
  yLabel: string,
): string {
  const points = (moments: readonly Moment[]) => moments.map((m) => ({ x: m.step, y: m[of] }));
  const lines = trained.map(
    ({ name, moments }, i): Line => ({
      name,
      style: styles[i],
      points: points([...shared, ...moments]),
    }),
  );
  return lineChart({
    title,
    description: `${title}: ${trained.map((t) => `${t.name} ends at ${t.score[of].toFixed(3)}`).join(', ')}.`,
    xLabel: 'step',
    yLabel,
    lines,
    legend: true,
    ...(of === 'matchingError' && { yFrom: 0 }),
  });
}

/** A drawing as one picture to whoever cannot see it. */
const described = (svg: string, words: string) =>
  svg.replace('<svg ', `<svg role="img" aria-label="${words}" `);

function place({ latitude, longitude }: Example): string {
  const degrees = (value: number, positive: string, negative: string) =>
    `${Math.abs(value).toFixed(0)}° ${value < 0 ? negative : positive}`;
  return `${degrees(latitude, 'N', 'S')}, ${degrees(longitude, 'E', 'W')}`;
}

function exampleFigure(example: Example): string {
  const rows = example.drawings.map(({ name, matching, error }) => {
    const words = `${name}: ${error} islands or waters without a partner`;
    return `<p>${words}</p>${described(matching, words)}`;
  });
  const caption =
    'One of a few pieces from all over the held-out region, chosen before anything was trained. ' +
    'Left the probabilities, then the mask; right each feature as a point, by the probabilities at ' +
    'which it appears and disappears. Green: matched; red: only predicted; blue: only in the mask. ' +
    'Circles are islands, squares enclosed waters; filled where they appear, open where they end.';
  return figure(`Near ${place(example)}`, rows.join(''), caption, true);
}

function barcodeFigure({ drawings }: Example): string {
  const parts = drawings.map(
    ({ name, barcode }) => `<p>${name}</p>${described(barcode, `Persistence diagram, ${name}`)}`,
  );
  const caption =
    'The barcode of each prediction for the first piece as a persistence diagram: points far from the ' +
    'diagonal are features that it is sure of, those near it are noise.';
  return figure(
    'Barcodes',
    `<div class="tiles">${parts.map((part) => `<div>${part}</div>`).join('')}</div>`,
    caption,
  );
}

const lead = ([dice, betti]: readonly Trained[]) => {
  const waters = ({ score }: Trained) => score.matchingError.toFixed(2);
  return (
    'A small U-Net finds land in hazy, noisy pictures of coasts. Trained on with Dice alone, it leaves ' +
    `${waters(dice)} islands or enclosed waters a piece without a partner in the right place; with ` +
    `Betti matching beside Dice ${waters(betti)}.`
  );
};

export function reportPage(results: Results, seconds: number, machine: string): string {
  const { settings, trained, pieces, examples, weights } = results;
  const [dice, betti] = trained;
  const tiles = [
    tile(betti.score.matchingError.toFixed(2), 'matching error, Dice + Betti matching'),
    tile(dice.score.matchingError.toFixed(2), 'matching error, Dice'),
    tile(betti.score.dice.toFixed(3), 'Dice score, Dice + Betti matching'),
    tile(dice.score.dice.toFixed(3), 'Dice score, Dice'),
  ];
  const scores = trained.map(({ name, score }) => [
    name,
    `Dice ${score.dice.toFixed(3)}, Betti number error ${score.bettiNumberError.toFixed(2)}, ` +
      `Betti matching error ${score.matchingError.toFixed(2)}`,
  ]);
  const body = [
    `<dl class="tiles">${tiles.join('')}</dl>`,
    figure(
      'Features without a partner',
      curves(results, 'matchingError', 'Betti matching error on held-out coasts', 'a piece'),
      'Islands and enclosed waters, predicted or in the mask, that have no partner in the right place.',
    ),
    figure(
      'Overlap',
      curves(results, 'dice', 'Dice score on held-out coasts', 'Dice'),
      'What Dice sees: the same pixels, of which those of an island or a strait are few.',
    ),
    ...examples.map(exampleFigure),
    ...examples.slice(0, 1).map(barcodeFigure),
    `<section><h2>Scores</h2>${settingsTable(Object.fromEntries(scores))}</section>`,
    `<section><h2>Run</h2>${settingsTable({
      pieces: `${pieces.train} of ${settings.size}² pixels to learn from, ${pieces.heldOut} held out (95° to 155° E)`,
      model: `U-Net of ${thousands(weights)} weights`,
      steps: `${settings.sharedSteps} with Dice, then ${settings.steps} with each loss, ${settings.batch} pieces each`,
      weights: `Betti matching ${settings.bettiWeight}, clDice ${settings.clDiceWeight}`,
      time: `${minutes(seconds)} on ${machine}`,
      seed: String(settings.seed),
    })}</section>`,
  ];
  return page({
    title: 'Coasts and their topology',
    heading: 'Coasts by overlap and by topology',
    lead: lead(trained),
    body,
  });
}
