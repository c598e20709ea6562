// The tables: every figure a bench can print, and which of them each op shows in the terminal and
// in the README. Columns that are empty for all rows are left out.
import { ofLimit, type Row, ratio } from './results.js';
import { type Cell, megabytes, percent, significant, times } from './table.js';

export interface Column {
  head: string;
  cell(row: Row): Cell;
}

function when(value: number | undefined, format: (value: number) => string): Cell {
  return value === undefined ? '' : format(value);
}

const scientific = (value: number) => value.toExponential(1);

const caseName = (head: string): Column => ({ head, cell: (row) => row.case });
const dtype: Column = { head: 'dtype', cell: (row) => row.dtype };
const way: Column = { head: 'what', cell: (row) => row.way };
const ms: Column = { head: 'ms', cell: (row) => row.ours.median };
const min: Column = { head: 'min', cell: (row) => row.ours.min };
const spread: Column = { head: '±', cell: (row) => percent(row.ours.spread) };
const rounds: Column = { head: 'rounds', cell: (row) => String(row.ours.rounds) };
const floor = (head: string): Column => ({ head, cell: (row) => when(ofLimit(row), percent) });
const rate = (head: string): Column => ({ head, cell: (row) => row.rate });

const extra = (name: string, head: string, format: (value: number) => string = significant) => ({
  head,
  cell: (row: Row) => when(row.extra[name], format),
});

const peerMs = (peer: string, head: string): Column => ({
  head,
  cell: (row) => row.peers[peer]?.median,
});
const versus = (peer: string, head: string): Column => ({
  head,
  cell: (row) => when(ratio(row, peer), times),
});

const crossEntropy = [
  floor('of floor'),
  extra('cyclesPerElement', 'cycles/element'),
  peerMs('torch', 'torch ms'),
  versus('torch', 'vs torch'),
  peerMs('torch huge', 'torch, huge pages, ms'),
  versus('torch huge', 'vs that'),
];
const linearTimes = [
  floor('of FMA peak'),
  versus('products', 'vs 3 products'),
  versus('linear+crossEntropy', 'vs linear + CE'),
  versus('linearCrossEntropy', 'vs torch LCE'),
  versus('linearCrossEntropy auto', 'vs torch LCE auto'),
  versus('huge linear+crossEntropy', 'vs linear + CE, huge pages'),
  versus('huge linearCrossEntropy', 'vs torch LCE, huge pages'),
  extra('ofFloat32', 'of float32 time', times),
];
const linearMemory = [
  extra('gradientBytes', 'gradients', megabytes),
  extra('peakBytes', 'peak extra', megabytes),
  extra('torchBytes', 'linear + CE', megabytes),
  extra('torchLceBytes', 'torch LCE', megabytes),
];
const linearErrors = [
  extra('errorDx', 'error dx', scientific),
  extra('torchErrorDx', 'linear + CE', scientific),
  extra('torchLceErrorDx', 'torch LCE', scientific),
  extra('errorDweight', 'error dW', scientific),
  extra('torchErrorDweight', 'linear + CE', scientific),
  extra('torchLceErrorDweight', 'torch LCE', scientific),
];
const filter = [
  extra('kept', 'kept', percent),
  extra('trueErrorX', 'true error dx', scientific),
  extra('boundX', 'bound dx', scientific),
  extra('trueErrorWeight', 'true error dW', scientific),
  extra('boundWeight', 'bound dW', scientific),
];
const timing = [ms, min, spread, rounds];

/** An op's tables, one under the other: each repeats the columns that say which row it is. */
interface Tables {
  terminal: Column[][];
  readme: Column[][];
}

const kernels = [
  extra('microseconds', 'µs'),
  rate('GB/s or TFLOP/s'),
  floor('of copy'),
  extra('goal', 'goal'),
  extra('launchMicroseconds', 'µs to launch'),
  versus('torch', 'vs torch'),
  versus('torch compile', 'vs torch.compile'),
  versus('liger', 'vs Liger'),
  versus('quack', 'vs QuACK'),
  versus('cut cross-entropy', 'vs cut-cross-entropy'),
  extra('scratchMiB', 'scratch MiB'),
];

const transport = [
  extra('nsPerPair', 'ns a pair and pass'),
  extra('iterations', 'iterations'),
  versus('geomloss', 'vs GeomLoss'),
  versus('geomloss converged', 'vs GeomLoss converged'),
  extra('scaling', 'its scaling'),
  extra('itsError', 'its error', scientific),
  extra('efficiency', 'of all threads', percent),
  versus('exact', 'vs exact EMD'),
  versus('pot batch', 'vs POT batch'),
];

const exact = [peerMs('pot', 'POT ms'), versus('pot', 'vs POT')];

const logitsCase = [caseName('N × V'), dtype, way];
const headCase = [caseName('N, D, V'), dtype, way];
const smallCase = [caseName('case'), dtype, way];

const products = [
  rate('GFLOP/s'),
  floor('of FMA peak'),
  peerMs('torch', 'torch ms'),
  versus('torch', 'vs torch'),
];

const distillation = [
  peerMs('torch official', 'official ms'),
  versus('torch official', 'vs official'),
  peerMs('torch head', 'with the head ms'),
  versus('torch head', 'vs it'),
  versus('torch cross-entropy', "vs torch's cross-entropy"),
  versus('crossEntropy', 'vs crossEntropy'),
  versus('linearCrossEntropy', 'vs linearCrossEntropy'),
];

const tables: Record<string, Tables> = {
  convolution: {
    terminal: [[...smallCase, ...timing, ...products]],
    readme: [[...smallCase, ms, ...products]],
  },
  'cross-entropy': {
    terminal: [[...logitsCase, ...timing, rate('GB/s'), ...crossEntropy]],
    readme: [[...logitsCase, ms, ...crossEntropy]],
  },
  'linear-cross-entropy': {
    terminal: [
      [...headCase, ...timing, rate('GFLOP/s'), ...linearTimes],
      [...headCase, ...linearMemory],
      [...headCase, ...linearErrors],
      [...headCase, ...filter],
    ],
    readme: [
      [...headCase, ms, rate('GFLOP/s'), ...linearTimes],
      [...headCase, ...linearMemory],
      [...headCase, ...linearErrors],
      [...headCase, ...filter],
    ],
  },
  kernels: {
    terminal: [[...smallCase, spread, rounds, ...kernels]],
    readme: [[...smallCase, ...kernels]],
  },
  distillation: {
    terminal: [[...smallCase, ...timing, ...distillation]],
    readme: [[...smallCase, ms, ...distillation]],
  },
  sinkhorn: {
    terminal: [[...smallCase, ...timing, ...transport]],
    readme: [[...smallCase, ms, ...transport]],
  },
  emd: {
    terminal: [[...smallCase, ...timing, extra('pivots', 'pivots'), ...exact]],
    readme: [[...smallCase, ms, ...exact]],
  },
  'cl-dice': {
    terminal: [
      [
        ...smallCase,
        ...timing,
        rate('GB/s'),
        peerMs('torch', 'torch ms'),
        versus('torch', 'vs torch'),
      ],
    ],
    readme: [[...smallCase, ms, versus('torch', 'vs torch')]],
  },
  topology: {
    terminal: [[...smallCase, ...timing, peerMs('plain', 'plain ms'), versus('plain', 'vs plain')]],
    readme: [[...smallCase, ms, versus('plain', 'vs plain')]],
  },
  betti: {
    terminal: [
      [
        ...smallCase,
        ...timing,
        peerMs('reference', 'reference ms'),
        versus('reference', 'vs reference'),
        peerMs('gudhi', 'GUDHI ms'),
        versus('gudhi', 'vs GUDHI'),
        extra('efficiency', 'efficiency', percent),
        extra('scratch', 'scratch B/voxel'),
      ],
    ],
    readme: [[...smallCase, ms, versus('reference', 'vs reference'), versus('gudhi', 'vs GUDHI')]],
  },
  'small-ops': {
    terminal: [
      [
        ...smallCase,
        ...timing,
        extra('microseconds', 'µs an op'),
        extra('minMicroseconds', 'min'),
        extra('goalMicroseconds', 'goal'),
        rate('GFLOP/s'),
        floor('of FMA peak'),
        peerMs('torch', 'torch ms'),
        versus('torch', 'vs torch'),
      ],
    ],
    readme: [
      [
        ...smallCase,
        extra('microseconds', 'µs an op'),
        rate('GFLOP/s'),
        floor('of FMA peak'),
        versus('torch', 'vs torch'),
      ],
    ],
  },
};

export interface Table {
  heads: string[];
  cells: Cell[][];
}

/** The tables of an op's rows, without columns that are empty and rows that say nothing. */
export function tablesOf(op: string, place: keyof Tables, rows: Row[]): Table[] {
  return (tables[op]?.[place] ?? []).flatMap((columns) => {
    const filled = (row: Row, { cell }: Column) => cell(row) !== '' && cell(row) !== undefined;
    const naming = new Set([...logitsCase, ...headCase, ...smallCase]);
    const telling = columns.filter(
      (column) => !naming.has(column) && rows.some((row) => filled(row, column)),
    );
    const told = rows.filter((row) => telling.some((column) => filled(row, column)));
    const shown = columns.filter((column) => naming.has(column) || telling.includes(column));
    if (told.length === 0) return [];
    const cells = told.map((row) => shown.map(({ cell }) => cell(row)));
    return [{ heads: shown.map(({ head }) => head), cells }];
  });
}
