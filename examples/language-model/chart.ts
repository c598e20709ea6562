// Small SVG charts without a library: a line chart with round axis ticks, and horizontal bars.
// Colours are CSS variables of the page, so that a chart follows its light or dark scheme.

export interface Point {
  x: number;
  y: number;
}

export interface Line {
  name: string;
  points: readonly Point[];
  /** CSS class, which gives the colour. */
  style: string;
}

export interface LineChart {
  title: string;
  /** What a reader who cannot see the chart is told. */
  description: string;
  xLabel: string;
  yLabel: string;
  lines: readonly Line[];
  /** Horizontal lines to compare with. */
  levels?: readonly { name: string; y: number }[];
  /** A value that the vertical axis must reach. */
  yFrom?: number;
}

const width = 720;
const height = 320;
const margin = { top: 18, right: 24, bottom: 44, left: 68 };

export function escaped(text: string): string {
  const names: Record<string, string> = { '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot' };
  return text.replace(/[&<>"]/g, (c) => `&${names[c]};`);
}

/** Round values that cover [low, high], about `count` of them (1, 2 or 5 times a power of ten). */
export function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999)!;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  // Divided where the step is a fraction: 3 / 10 is 0.3, 3 * 0.1 is not.
  const at = (i: number) => (step < 1 ? i / Math.round(1 / step) : i * step);
  return Array.from({ length: last - first + 1 }, (_, i) => at(first + i));
}

const fixed = (value: number) => value.toFixed(1);
const label = (value: number) => value.toLocaleString('en-US', { maximumFractionDigits: 6 });

/** Where values lie on the drawing. */
interface Frame {
  x: (value: number) => number;
  y: (value: number) => number;
  xTicks: number[];
  yTicks: number[];
}

function frameOf({ lines, levels = [], yFrom = Number.POSITIVE_INFINITY }: LineChart): Frame {
  const points = lines.flatMap((line) => line.points);
  const ys = [...points, ...levels].map((point) => point.y);
  const yTicks = ticks(Math.min(yFrom, ...ys), Math.max(...ys), 6);
  // Across, the drawing ends with the data; upwards, with a tick.
  const right = Math.max(1, ...points.map((point) => point.x));
  const scale = (low: number, high: number, from: number, to: number) => (value: number) =>
    from + ((value - low) / (high - low)) * (to - from);
  return {
    x: scale(0, right, margin.left, width - margin.right),
    y: scale(yTicks[0], yTicks[yTicks.length - 1], height - margin.bottom, margin.top),
    xTicks: ticks(0, right, 8).filter((tick) => tick <= right),
    yTicks,
  };
}

function axes({ x, y, xTicks, yTicks }: Frame, chart: LineChart): string {
  const left = margin.left;
  const bottom = height - margin.bottom;
  const rules = yTicks.map(
    (tick) =>
      `<line class="grid" x1="${left}" x2="${width - margin.right}" y1="${fixed(y(tick))}" y2="${fixed(y(tick))}"/>` +
      `<text x="${left - 8}" y="${fixed(y(tick) + 4)}" text-anchor="end">${label(tick)}</text>`,
  );
  const marks = xTicks.map(
    (tick) =>
      `<text x="${fixed(x(tick))}" y="${bottom + 18}" text-anchor="middle">${label(tick)}</text>`,
  );
  const middle = (left + width - margin.right) / 2;
  return [
    ...rules,
    ...marks,
    `<text class="axis" x="${middle}" y="${height - 6}" text-anchor="middle">${escaped(chart.xLabel)}</text>`,
    `<text class="axis" transform="translate(14 ${(margin.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escaped(chart.yLabel)}</text>`,
  ].join('\n');
}

function path({ x, y }: Frame, { points, style }: Line): string {
  if (points.length === 1) {
    return `<circle class="${style} dot" cx="${fixed(x(points[0].x))}" cy="${fixed(y(points[0].y))}" r="3"/>`;
  }
  const places = points.map((point) => `${fixed(x(point.x))},${fixed(y(point.y))}`);
  return `<polyline class="${style}" points="${places.join(' ')}"/>`;
}

let count = 0;

function svg(title: string, description: string, tall: number, inside: string): string {
  const id = `chart${++count}`;
  return `<svg viewBox="0 0 ${width} ${tall}" role="img" aria-labelledby="${id}t ${id}d">
<title id="${id}t">${escaped(title)}</title>
<desc id="${id}d">${escaped(description)}</desc>
${inside}
</svg>`;
}

export function lineChart(chart: LineChart): string {
  const frame = frameOf(chart);
  const levels = (chart.levels ?? []).map(({ name, y }) => {
    const at = frame.y(y);
    return (
      `<line class="level" x1="${margin.left}" x2="${width - margin.right}" y1="${fixed(at)}" y2="${fixed(at)}"/>` +
      `<text class="note" x="${width - margin.right - 4}" y="${fixed(at - 6)}" text-anchor="end">${escaped(name)}</text>`
    );
  });
  const lines = chart.lines.map((line) => path(frame, line));
  const inside = [axes(frame, chart), ...lines, ...levels].join('\n');
  return svg(chart.title, chart.description, height, inside);
}

export interface Bar {
  name: string;
  value: number;
  text: string;
  /** CSS class, which gives the colour. */
  style: string;
}

const barHeight = 30;
const barPitch = 62;

/** Bars from one common zero, each under its name. */
export function barChart(title: string, description: string, bars: readonly Bar[]): string {
  const room = width - 110;
  const largest = Math.max(...bars.map((bar) => bar.value), Number.MIN_VALUE);
  const rows = bars.map(({ name, value, text, style }, i) => {
    const top = i * barPitch;
    const length = Math.max(2, (value / largest) * room);
    return (
      `<text class="axis" x="0" y="${top + 14}">${escaped(name)}</text>` +
      `<rect class="${style}" x="0" y="${top + 22}" width="${fixed(length)}" height="${barHeight}" rx="4"/>` +
      `<text class="value" x="${fixed(length + 10)}" y="${top + 22 + barHeight / 2 + 5}">${escaped(text)}</text>`
    );
  });
  return svg(title, description, bars.length * barPitch, rows.join('\n'));
}
