// Pictures of clouds of points in space, seen from the front and a little from above.
import { escaped, fixed, svg } from '../chart.js';

export interface Dots {
  /** [N, 3], row-major. */
  points: ArrayLike<number>;
  /** CSS class, which gives the colour. */
  style: string;
  /** How solid each dot is, in [0, 1]; default 1. */
  weights?: ArrayLike<number>;
}

export interface Panel {
  title: string;
  dots: readonly Dots[];
}

const panelWidth = 360;
const panelHeight = 330;
const captionHeight = 24;

const [turn, tilt] = [0.5, 0.25]; // radians

/** Across, down and towards the viewer. */
function seen(points: ArrayLike<number>, i: number): [number, number, number] {
  const [x, y, z] = [points[3 * i], points[3 * i + 1], points[3 * i + 2]];
  const across = x * Math.cos(turn) + z * Math.sin(turn);
  const deep = z * Math.cos(turn) - x * Math.sin(turn);
  return [
    across,
    deep * Math.sin(tilt) - y * Math.cos(tilt),
    deep * Math.cos(tilt) + y * Math.sin(tilt),
  ];
}

type Places = [number, number, number][];

const placesOf = ({ points }: Dots): Places =>
  Array.from({ length: points.length / 3 }, (_, i) => seen(points, i));

/** One scale for all panels, so that they can be compared. */
function framed(all: readonly Places[]): (place: Places[0]) => [number, number] {
  const range = (axis: 0 | 1) => {
    const values = all.flat().map((place) => place[axis]);
    return [Math.min(...values), Math.max(...values)];
  };
  const [left, right] = range(0);
  const [top, bottom] = range(1);
  const scale = Math.min((panelWidth - 24) / (right - left), (panelHeight - 24) / (bottom - top));
  return ([across, down]) => [
    panelWidth / 2 + scale * (across - (left + right) / 2),
    captionHeight + panelHeight / 2 + scale * (down - (top + bottom) / 2),
  ];
}

/** What lies nearer is larger and more solid, and drawn last. */
function circles({ style, weights }: Dots, places: Places, at: (p: Places[0]) => [number, number]) {
  return [...places.keys()]
    .sort((a, b) => places[a][2] - places[b][2])
    .map((i) => {
      const near = Math.min(1, Math.max(0, 0.5 + places[i][2] / 3));
      const [x, y] = at(places[i]);
      const opacity = (0.35 + 0.55 * near) * (weights?.[i] ?? 1) + 0.05;
      return `<circle class="${style}" cx="${fixed(x)}" cy="${fixed(y)}" r="${fixed(1.3 + 1.5 * near)}" opacity="${Math.min(1, opacity).toFixed(2)}"/>`;
    })
    .join('');
}

/** Panels side by side. */
export function cloudPicture(title: string, description: string, panels: readonly Panel[]): string {
  const places = panels.map(({ dots }) => dots.map(placesOf));
  const at = framed(places.flat());
  const drawn = panels.map(
    (panel, i) =>
      `<g transform="translate(${i * panelWidth} 0)">` +
      `<text class="axis" x="${panelWidth / 2}" y="15" text-anchor="middle">${escaped(panel.title)}</text>` +
      panel.dots.map((dots, k) => circles(dots, places[i][k], at)).join('') +
      '</g>',
  );
  const size = [panels.length * panelWidth, panelHeight + captionHeight] as const;
  return svg(title, description, size, drawn.join('\n'));
}

/**
 * Two clouds apart from each other, with a line from each of some points to the point it is matched
 * with (-1: none).
 */
export function matchPicture(
  title: string,
  description: string,
  from: Dots,
  to: Dots,
  lines: readonly { from: number; to: number; style: string }[],
): string {
  const places = [placesOf(from), placesOf(to)];
  const at = framed(places);
  const right = (place: Places[0]): [number, number] => {
    const [x, y] = at(place);
    return [x + panelWidth, y];
  };
  const drawn = lines.map((line) => {
    const [x1, y1] = at(places[0][line.from]);
    const [x2, y2] = right(places[1][line.to]);
    return `<line class="match ${line.style}" x1="${fixed(x1)}" y1="${fixed(y1)}" x2="${fixed(x2)}" y2="${fixed(y2)}"/>`;
  });
  const inside = [circles(from, places[0], at), circles(to, places[1], right), ...drawn];
  return svg(title, description, [2 * panelWidth, panelHeight + captionHeight], inside.join('\n'));
}
