// Pictures of barcodes and Betti matchings: images as embedded PNGs, pairs as marks on them, and the
// persistence diagram, beside it the bars; where cycles were asked for, the edges of loops. Matched pairs are green, what
// only the prediction has is red, what only the target has is blue; degree 0 is drawn as circles, 1
// as squares, 2 as diamonds.
import type { Bars, MatchedImages, MatchedPairs } from './betti-result.js';
import { expectNumber, expectOptions } from './expect.js';

/** Options of `toSVG`. */
export interface SvgOptions {
  /** Pixels along the side of a panel; default 256. */
  size?: number | undefined;
  /** Most pairs drawn of each kind and degree, the longest first; default 200. */
  most?: number | undefined;
}

type Values = Float32Array | Float64Array;

const colors = { matched: '#2a9d3a', prediction: '#d1382c', target: '#2461c4' };
const gap = 24;

function settings(options: SvgOptions = {}): Required<SvgOptions> {
  expectOptions('toSVG', options, ['size', 'most']);
  const { size = 256, most = 200 } = options;
  expectNumber('toSVG', 'size', size, { integer: true, min: 32, max: 4096 });
  expectNumber('toSVG', 'most', most, { integer: true, min: 0 });
  return { size, most };
}

const short = (x: number) => String(Number(x.toFixed(2)));

function chunk(type: string, body: Buffer): Buffer {
  const tagged = Buffer.concat([Buffer.from(type), body]);
  const { crc32 } = process.getBuiltinModule('node:zlib');
  const out = Buffer.alloc(tagged.length + 8);
  out.writeUInt32BE(body.length, 0);
  tagged.copy(out, 4);
  out.writeUInt32BE(crc32(tagged), tagged.length + 4);
  return out;
}

/** An 8-bit grey PNG as a data URL. */
function png(values: Values, height: number, width: number, low: number, high: number): string {
  const rows = Buffer.alloc(height * (width + 1));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const share = high > low ? (values[y * width + x] - low) / (high - low) : 0;
      rows[y * (width + 1) + x + 1] = Math.max(0, Math.min(255, Math.round(255 * share)));
    }
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head[8] = 8;
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const { deflateSync } = process.getBuiltinModule('node:zlib');
  const parts = [
    chunk('IHDR', head),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ];
  return `data:image/png;base64,${Buffer.concat([signature, ...parts]).toString('base64')}`;
}

/** A two-dimensional picture of an image: one row of one axis, the first of three projected away. */
function flattened(values: Values, { shape, filtration }: MatchedImages) {
  const width = shape[shape.length - 1];
  const height = shape.length === 1 ? 1 : shape[shape.length - 2];
  const plane = width * height;
  const flat = new Float64Array(plane).fill(filtration === 'sublevel' ? Infinity : -Infinity);
  const first = filtration === 'sublevel' ? Math.min : Math.max;
  for (let i = 0; i < values.length; i++) flat[i % plane] = first(flat[i % plane], values[i]);
  return { flat, width, height };
}

function finiteRange(lists: readonly ArrayLike<number>[]): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const list of lists) {
    for (let i = 0; i < list.length; i++) {
      if (!Number.isFinite(list[i])) continue;
      low = Math.min(low, list[i]);
      high = Math.max(high, list[i]);
    }
  }
  return low <= high ? [low, high] : [0, 1];
}

/** What is beyond the values of a picture lies on its border: infinities, padding. */
const clamped = (value: number, [low, high]: readonly [number, number]) =>
  Math.max(low, Math.min(high, value));

/** The place of a value along a diagram's side. */
const placeOf = (value: number, [low, high]: readonly [number, number], size: number) =>
  (high > low ? (clamped(value, [low, high]) - low) / (high - low) : 0.5) * size;

function mark(degree: number, x: number, y: number, r: number, color: string, filled: boolean) {
  const paint = filled ? `fill="${color}"` : `fill="none" stroke="${color}" stroke-width="1.5"`;
  const [cx, cy, s] = [short(x), short(y), short(r)];
  if (degree === 0) return `<circle cx="${cx}" cy="${cy}" r="${s}" ${paint}/>`;
  const turn = degree === 2 ? ` transform="rotate(45 ${cx} ${cy})"` : '';
  const at = `x="${short(x - r)}" y="${short(y - r)}" width="${short(2 * r)}" height="${short(2 * r)}"`;
  return `<rect ${at} ${paint}${turn}/>`;
}

const line = (x1: number, y1: number, x2: number, y2: number, color: string) =>
  `<line x1="${short(x1)}" y1="${short(y1)}" x2="${short(x2)}" y2="${short(y2)}" stroke="${color}" stroke-width="0.8"/>`;

/** A pair as it is drawn: voxels and values of its bar, and of its partner's. */
interface Drawn {
  degree: number;
  kind: keyof typeof colors;
  bars: {
    side: 0 | 1;
    voxels: [number, number];
    values: [number, number];
    /** Edges of a loop, two voxels each. */
    loop?: Int32Array;
  }[];
}

function drawn(
  dims: readonly (MatchedPairs | null)[],
  images: MatchedImages,
  inputs: readonly Values[],
  range: readonly [number, number],
  most: number,
): Drawn[] {
  const extremes = inputs.map((v) => finiteRange([v])[images.filtration === 'sublevel' ? 0 : 1]);
  const { padding } = images;
  const never = range[images.filtration === 'sublevel' ? 1 : 0];
  const valueAt = (side: number, voxel: number) => {
    if (voxel >= 0) return clamped(inputs[side][voxel], range);
    return clamped(typeof padding === 'number' ? padding : extremes[side], range);
  };
  const bar = (side: 0 | 1, voxels: [number, number], dies: boolean, loop?: Int32Array) => ({
    side,
    voxels,
    values: [valueAt(side, voxels[0]), dies ? valueAt(side, voxels[1]) : never] as [number, number],
    loop,
  });
  const lengthOf = ({ bars }: Drawn) =>
    Math.max(...bars.map(({ values: [b, d] }) => Math.abs(b - d)));
  return dims.flatMap((lists, degree) => {
    if (!lists) return [];
    const cut = (
      list: Int32Array,
      cycles: Int32Array[][] | undefined,
      kind: Drawn['kind'],
      sides: (0 | 1)[],
    ) => {
      const length = list.length / (2 * sides.length);
      const oldest = images.essential && degree === 0 && kind === 'matched' ? length - 1 : -1;
      const all = Array.from({ length }, (_, i): Drawn => {
        const at = (k: number) => list[2 * i * sides.length + k];
        const loop = (k: number) => (degree === 1 ? cycles?.[i][k] : undefined);
        const bars = sides.map((side, k) =>
          bar(side, [at(2 * k), at(2 * k + 1)], i !== oldest, loop(k)),
        );
        return { degree, kind, bars };
      });
      return all.sort((a, b) => lengthOf(b) - lengthOf(a)).slice(0, most);
    };
    const { matched, unmatchedPrediction, unmatchedTarget } = lists.cycles ?? {};
    const one = (cycles?: Int32Array[]) => cycles?.map((cycle) => [cycle]);
    return [
      ...cut(lists.matched, matched, 'matched', [0, 1]),
      ...cut(lists.unmatchedPrediction, one(unmatchedPrediction), 'prediction', [0]),
      ...cut(lists.unmatchedTarget, one(unmatchedTarget), 'target', [1]),
    ];
  });
}

const text = (x: number, y: number, words: string) =>
  `<text x="${short(x)}" y="${short(y)}" font-family="sans-serif" font-size="12">${words}</text>`;

const panelFrame = (x0: number, size: number, title: string) =>
  `<rect x="${x0}" y="${gap}" width="${size}" height="${size}" fill="none" stroke="#888"/>${text(x0, gap - 8, title)}`;

/** The axes of a persistence diagram. */
const diagramFrame = (x0: number, size: number) =>
  panelFrame(x0, size, 'birth → death') + line(x0, gap + size, x0 + size, gap, '#bbb');

interface DrawnBar {
  degree: number;
  values: readonly [birth: number, death: number];
  color: string;
  /** Of the target. */
  isDashed: boolean;
}

/** Bars as lines from birth (a dot) to death, one below the other, each degree's number before its first. */
function barPanel(
  x0: number,
  size: number,
  bars: readonly DrawnBar[],
  place: (value: number) => number,
): string {
  const parts = [panelFrame(x0, size, 'bars')];
  const step = Math.min(8, size / (bars.length + 1));
  for (const [i, { degree, values, color, isDashed }] of bars.entries()) {
    const y = gap + (i + 1) * step;
    const [birth, death] = values.map((value) => x0 + place(value));
    const dash = isDashed ? ' stroke-dasharray="3 2"' : '';
    const width = short(Math.min(2, 0.6 * step));
    parts.push(
      `<line class="bar" x1="${short(birth)}" y1="${short(y)}" x2="${short(death)}" y2="${short(y)}" stroke="${color}" stroke-width="${width}"${dash}/>`,
      `<circle cx="${short(birth)}" cy="${short(y)}" r="${short(Math.min(2, 0.4 * step))}" fill="${color}"/>`,
    );
    if (degree !== bars[i - 1]?.degree) parts.push(text(x0 - 10, y + 4, String(degree)));
  }
  return parts.join('');
}

function svg(width: number, height: number, body: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${body}</svg>`;
}

/** The images side by side with their pairs and loops, the diagram and the bars beside them. */
export function matchingSVG(
  dims: readonly (MatchedPairs | null)[],
  images: MatchedImages,
  options?: SvgOptions,
): string {
  const { size, most } = settings(options);
  const inputs = [images.prediction(), images.target()];
  const range = finiteRange(inputs);
  const pairs = drawn(dims, images, inputs, range, most);
  const parts: string[] = [];
  const planes = inputs.map((values) => flattened(values, images));
  const { width, height } = planes[0];
  const scale = size / Math.max(width, height);
  const left = (panel: number) => gap + panel * (size + gap);
  for (const [side, { flat }] of planes.entries()) {
    const at = `x="${left(side)}" y="${gap}" width="${short(width * scale)}" height="${short(height * scale)}"`;
    const href = png(flat, height, width, ...range);
    parts.push(text(left(side), gap - 8, side === 0 ? 'prediction' : 'target'));
    parts.push(`<image ${at} href="${href}" style="image-rendering:pixelated"/>`);
  }
  const place = (value: number) => placeOf(value, range, size);
  parts.push(diagramFrame(left(2), size));
  for (const { degree, kind, bars } of pairs) {
    const color = colors[kind];
    const points = bars.map(({ side, voxels, values: [birth, death], loop = [] }) => {
      const centre = (voxel: number): [number, number] => [
        left(side) + ((voxel % width) + 0.5) * scale,
        gap + ((Math.floor(voxel / width) % height) + 0.5) * scale,
      ];
      for (let i = 0; i < loop.length; i += 2)
        if (loop[i] >= 0 && loop[i + 1] >= 0)
          parts.push(line(...centre(loop[i]), ...centre(loop[i + 1]), color));
      for (const [end, voxel] of voxels.entries()) {
        if (voxel < 0) continue;
        const [x, y] = centre(voxel);
        parts.push(mark(degree, x, y, Math.max(2, scale / 3), color, end === 0));
      }
      return [left(2) + place(birth), gap + size - place(death)] as const;
    });
    if (points.length === 2) parts.push(line(...points[0], ...points[1], color));
    for (const [i, [x, y]] of points.entries()) parts.push(mark(degree, x, y, 3, color, i === 0));
  }
  const all = pairs.flatMap(({ degree, kind, bars }) =>
    bars.map(({ side, values }): DrawnBar => {
      return { degree, values, color: colors[kind], isDashed: side === 1 };
    }),
  );
  parts.push(barPanel(left(3), size, all, place));
  return svg(left(4), size + 2 * gap, parts.join(''));
}

/** The persistence diagram and the bars of one barcode. */
export function diagramSVG(dims: readonly (Bars | null)[], options?: SvgOptions): string {
  const { size, most } = settings(options);
  const range = finiteRange(dims.flatMap((bars) => (bars ? [bars.birth, bars.death] : [])));
  const place = (value: number) => placeOf(value, range, size);
  const parts = [diagramFrame(gap, size)];
  const all: DrawnBar[] = [];
  for (const [degree, bars] of dims.entries()) {
    if (!bars) continue;
    const { birth, death } = bars;
    const order = Array.from(birth.keys()).sort(
      (a, b) => Math.abs(birth[b] - death[b]) - Math.abs(birth[a] - death[a]),
    );
    for (const i of order.slice(0, most)) {
      const [x, y] = [gap + place(birth[i]), gap + size - place(death[i])];
      parts.push(mark(degree, x, y, 3, colors.prediction, true));
      const values = [birth[i], death[i]] as const;
      all.push({ degree, values, color: colors.prediction, isDashed: false });
    }
  }
  parts.push(barPanel(size + 2 * gap, size, all, place));
  return svg(2 * size + 3 * gap, size + 2 * gap, parts.join(''));
}
