// A map of named dots. Names are put where they cover neither a dot nor another name, those of the
// highest rank first; the others are told when the pointer is on their dot.
import { escaped, fixed, svg } from '../chart.js';

export interface Place {
  name: string;
  x: number;
  y: number;
  /** CSS class, which gives the colour. */
  style: string;
  /** Named before those of a lower rank. */
  rank: number;
}

const width = 1120;
const height = 860;
const margin = 40;
const fontSize = 11;
const radius = 3;
const keyHeight = 28;

interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

const overlap = (a: Box, b: Box) =>
  a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** At least as wide as most fonts without serifs draw it. */
const widthOf = (name: string) => name.length * fontSize * 0.6;

/** Where a name may stand: right, left, above and below its dot, then the corners. */
function candidates(name: string, x: number, y: number): Box[] {
  const [wide, half, away] = [widthOf(name), fontSize / 2, radius + 2];
  const box = (left: number, middle: number) => ({
    left,
    top: middle - half,
    right: left + wide,
    bottom: middle + half,
  });
  const corners = [away, -away - wide].flatMap((side) => [
    box(x + side, y - fontSize * 0.7),
    box(x + side, y + fontSize * 0.7),
  ]);
  return [
    box(x + away, y),
    box(x - away - wide, y),
    box(x - wide / 2, y - away - half),
    box(x - wide / 2, y + away + half),
    ...corners,
  ];
}

const isInside = ({ left, top, right, bottom }: Box) =>
  left > 2 && top > keyHeight && right < width - 2 && bottom < height - 2;

/** Boxes for the names that found a place, by index. */
function labels(places: readonly Place[]): Map<number, Box> {
  const dots = places.map(({ x, y }) => ({
    left: x - radius,
    top: y - radius,
    right: x + radius,
    bottom: y + radius,
  }));
  const taken = new Map<number, Box>();
  const order = [...places.keys()].sort((a, b) => places[b].rank - places[a].rank || a - b);
  for (const i of order) {
    const { name, x, y } = places[i];
    const free = candidates(name, x, y).find(
      (box) =>
        isInside(box) &&
        !dots.some((dot, j) => j !== i && overlap(dot, box)) &&
        ![...taken.values()].some((other) => overlap(other, box)),
    );
    if (free) taken.set(i, free);
  }
  return taken;
}

/** Into the drawing, with one scale for both axes. */
function fitted(places: readonly Place[]): Place[] {
  const [xs, ys] = [places.map(({ x }) => x), places.map(({ y }) => y)];
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const [wide, tall] = [Math.max(...xs) - left, Math.max(...ys) - top];
  const scale = Math.min((width - 2 * margin) / wide, (height - 2 * margin) / tall);
  return places.map((place) => ({
    ...place,
    x: width / 2 + scale * (place.x - left - wide / 2),
    y: height / 2 + scale * (place.y - top - tall / 2),
  }));
}

export function mapPicture(
  title: string,
  description: string,
  places: readonly Place[],
  legend: readonly { name: string; style: string }[],
): string {
  const drawn = fitted(places);
  const boxes = labels(drawn);
  const dots = drawn.map(
    ({ name, x, y, style }) =>
      `<circle class="${style}" cx="${fixed(x)}" cy="${fixed(y)}" r="${radius}"><title>${escaped(name)}</title></circle>`,
  );
  const names = [...boxes].map(
    ([i, { left, bottom }]) =>
      `<text class="place" x="${fixed(left)}" y="${fixed(bottom - 2)}">${escaped(drawn[i].name)}</text>`,
  );
  const keys = legend.map(
    ({ name, style }, i) =>
      `<circle class="${style}" cx="${16 + 200 * i}" cy="14" r="5"/>` +
      `<text class="axis" x="${28 + 200 * i}" y="18">${escaped(name)}</text>`,
  );
  return svg(title, description, [width, height], [...dots, ...names, ...keys].join('\n'));
}
