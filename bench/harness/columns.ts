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
  extra('peakBytes', 'peak extra', megabytes),
  extra('gradientBytes', 'gradients', megabytes),
  extra('torchBytes', 'torch', megabytes),
  extra('torchLceBytes', 'torch LCE', megabytes),
  extra('errorDx', 'error dx', scientific),
  extra('torchErrorDx', 'torch', scientific),
  extra('errorDweight', 'error dW', scientific),
  extra('torchErrorDweight', 'torch', scientific),
];
const filter = [
  extra('kept', 'kept', percent),
  extra('trueErrorX', 'true error dx', scientific),
  extra('boundX', 'bound dx', scientific),
  extra('trueErrorWeight', 'true error dW', scientific),
  extra('boundWeight', 'bound dW', scientific),
];
const timing = [dtype, way, ms, min, spread, rounds];

const tables: Record<string, { terminal: Column[]; readme: Column[] }> = {
  'cross-entropy': {
    terminal: [caseName('N × V'), ...timing, rate('GB/s'), ...crossEntropy],
    readme: [caseName('N × V'), dtype, way, ms, ...crossEntropy],
  },
  'linear-cross-entropy': {
    terminal: [
      caseName('N, D, V'),
      ...timing,
      rate('GFLOP/s'),
      ...linearTimes,
      ...linearMemory,
      ...filter,
    ],
    readme: [
      caseName('N, D, V'),
      dtype,
      way,
      ms,
      rate('GFLOP/s'),
      ...linearTimes,
      ...linearMemory,
      ...filter,
    ],
  },
  'small-ops': {
    terminal: [
      caseName('case'),
      ...timing,
      extra('microseconds', 'µs an op'),
      extra('minMicroseconds', 'min'),
      extra('goalMicroseconds', 'goal'),
      rate('GFLOP/s'),
      floor('of FMA peak'),
      peerMs('torch', 'torch ms'),
      versus('torch', 'vs torch'),
    ],
    readme: [
      caseName('case'),
      dtype,
      way,
      extra('microseconds', 'µs an op'),
      rate('GFLOP/s'),
      floor('of FMA peak'),
      versus('torch', 'vs torch'),
    ],
  },
};

function shown(columns: Column[], rows: Row[]): Column[] {
  return columns.filter(({ cell }) =>
    rows.some((row) => cell(row) !== '' && cell(row) !== undefined),
  );
}

export function printed(op: string, rows: Row[]): Column[] {
  return shown(tables[op]?.terminal ?? [], rows);
}

export function quoted(op: string, rows: Row[]): Column[] {
  return shown(tables[op]?.readme ?? [], rows);
}
