// A plan as bands: on the left what is given, on the right what is received, between them the mass
// that the plan moves, each band as thick as it is heavy.
import { escaped, fixed, svg } from '../chart.js';

export interface Side {
  title: string;
  names: readonly string[];
  weights: readonly number[];
}

interface Box {
  name: string;
  top: number;
  height: number;
}

const width = 720;
const height = 620;
const top = 30;
const gap = 3;
const barWidth = 14;
const [leftBar, rightBar] = [110, width - 110 - barWidth];
const thinnest = 0.002; // share of the mass that is drawn
const nameHeight = 12;

/** Height of a mass of 1, with room for the gaps of the longer side. */
const unitOf = (sides: readonly Side[]) =>
  height - top - gap * Math.max(...sides.map(({ names }) => names.length));

function boxes({ names, weights }: Side, order: readonly number[], unit: number): Box[] {
  const result: Box[] = [];
  let at = top;
  for (const i of order) {
    result[i] = { name: names[i], top: at, height: weights[i] * unit };
    at += weights[i] * unit + gap;
  }
  return result;
}

/** Bars with names, heaviest first where there is no room for all. */
function bars(list: readonly Box[], x: number, isLeft: boolean) {
  const textAt = isLeft ? x - 8 : x + barWidth + 8;
  const anchor = isLeft ? 'end' : 'start';
  const named: number[] = [];
  return [...list]
    .sort((a, b) => b.height - a.height)
    .map((box) => {
      const bar = `<rect class="${isLeft ? 'one' : 'two'}" x="${x}" y="${fixed(box.top)}" width="${barWidth}" height="${fixed(Math.max(0.5, box.height))}"/>`;
      const y = box.top + box.height / 2 + 4;
      if (named.some((other) => Math.abs(other - y) < nameHeight)) return bar;
      named.push(y);
      return `${bar}<text class="letter" x="${textAt}" y="${fixed(y)}" text-anchor="${anchor}">${escaped(box.name)}</text>`;
    });
}

function band(from: Box, to: Box, [y1, y2]: [number, number], thick: number): string {
  const [x1, x2] = [leftBar + barWidth, rightBar];
  const middle = (x1 + x2) / 2;
  const style = from.name === to.name ? 'kept' : 'changed';
  const curve = (a: number, b: number, end: number) =>
    `C${middle},${fixed(a)} ${middle},${fixed(b)} ${end},${fixed(b)}`;
  return (
    `<path class="band ${style}" d="M${x1},${fixed(y1)}${curve(y1, y2, x2)}` +
    `V${fixed(y2 + thick)}${curve(y2 + thick, y1 + thick, x1)}Z">` +
    `<title>${escaped(`${from.name} → ${to.name}`)}</title></path>`
  );
}

const alphabetical = ({ names }: Side) =>
  [...names.keys()].sort((a, b) => names[a].localeCompare(names[b], 'en'));

/** Both sides in alphabetical order; `plan` [N, M] has mass 1. */
export function planPicture(
  title: string,
  description: string,
  from: Side,
  to: Side,
  plan: ArrayLike<number>,
): string {
  const unit = unitOf([from, to]);
  const [rows, columns] = [alphabetical(from), alphabetical(to)];
  const [left, right] = [boxes(from, rows, unit), boxes(to, columns, unit)];
  const [leftUsed, rightUsed] = [left.map((box) => box.top), right.map((box) => box.top)];
  const bands: string[] = [];
  for (const i of rows) {
    for (const j of columns) {
      const mass = plan[i * to.names.length + j];
      const thick = mass * unit;
      if (mass > thinnest) bands.push(band(left[i], right[j], [leftUsed[i], rightUsed[j]], thick));
      leftUsed[i] += thick;
      rightUsed[j] += thick;
    }
  }
  const heading = (side: Side, x: number) =>
    `<text class="axis" x="${x}" y="16" text-anchor="middle">${escaped(side.title)}</text>`;
  const inside = [
    heading(from, leftBar + barWidth / 2),
    heading(to, rightBar + barWidth / 2),
    ...bands,
    ...bars(left, leftBar, true),
    ...bars(right, rightBar, false),
  ];
  return svg(title, description, [width, height], inside.join('\n'));
}
