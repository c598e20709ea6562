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
  /** Powers of ten upwards; every value is above 0. */
  logarithmic?: boolean;
  /** Names the lines above the chart, each in its colour. */
  legend?: boolean;
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

export const fixed = (value: number) => value.toFixed(1);
/** Without the noise of a power of ten. */
const label = (value: number) =>
  value > 0 && value < 1e-3
    ? value.toExponential(0).replace('-', '−')
    : value.toLocaleString('en-US', { maximumFractionDigits: 6 });

/** Where values lie on the drawing. */
interface Frame {
  x: (value: number) => number;
  y: (value: number) => number;
  xTicks: number[];
  yTicks: number[];
}

/** Powers of ten that cover [low, high], about `count` of them. */
function powers(low: number, high: number, count: number): number[] {
  const first = Math.floor(Math.log10(low) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(Math.log10(high) - 1e-9));
  const step = Math.ceil((last - first) / count);
  const most = Math.ceil((last - first) / step);
  return Array.from({ length: most + 1 }, (_, i) => 10 ** (first + i * step));
}

function frameOf(chart: LineChart): Frame {
  const { lines, levels = [], yFrom = Number.POSITIVE_INFINITY, logarithmic } = chart;
  const points = lines.flatMap((line) => line.points);
  const ys = [...points, ...levels].map((point) => point.y);
  const yTicks = (logarithmic ? powers : ticks)(Math.min(yFrom, ...ys), Math.max(...ys), 6);
  const placed = logarithmic ? Math.log10 : (value: number) => value;
  // Across, the drawing ends with the data; upwards, with a tick.
  const right = Math.max(1, ...points.map((point) => point.x));
  const scale = (low: number, high: number, from: number, to: number) => (value: number) =>
    from + ((value - low) / (high - low)) * (to - from);
  const [bottom, top] = [yTicks[0], yTicks[yTicks.length - 1]].map(placed);
  const upwards = scale(bottom, top, height - margin.bottom, margin.top);
  return {
    x: scale(0, right, margin.left, width - margin.right),
    y: (value) => upwards(placed(value)),
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

const legendHeight = 24;
/** Room for a name and its line, by the width of most letters. */
const roomFor = (name: string) => 50 + 7 * name.length;

/** In a row above the chart, which moves down by its height. */
function underLegend(lines: readonly Line[], inside: string): string {
  let right = margin.left;
  const row = lines.map(({ name, style }) => {
    const x = right;
    right += roomFor(name);
    return (
      `<polyline class="${style}" points="${x},10 ${x + 20},10"/>` +
      `<text class="axis" x="${x + 26}" y="14">${escaped(name)}</text>`
    );
  });
  return `${row.join('\n')}\n<g transform="translate(0 ${legendHeight})">${inside}</g>`;
}

let count = 0;

/** A drawing with a title, and a description for whoever cannot see it. */
export function svg(
  title: string,
  description: string,
  [wide, tall]: readonly [number, number],
  inside: string,
): string {
  const id = `chart${++count}`;
  return `<svg viewBox="0 0 ${wide} ${tall}" role="img" aria-labelledby="${id}t ${id}d">
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
  const { title, description, legend } = chart;
  if (!legend) return svg(title, description, [width, height], inside);
  return svg(title, description, [width, height + legendHeight], underLegend(chart.lines, inside));
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
  return svg(title, description, [width, bars.length * barPitch], rows.join('\n'));
}
