// Prints rows as an aligned text table, or as Markdown for the README.

export type Cell = string | number | undefined;

function text(cell: Cell): string {
  if (cell === undefined) return '';
  return typeof cell === 'number' ? significant(cell) : cell;
}

/** Three significant digits, never in exponent form: 0.0123, 1.23, 12.3, 1234. */
export function significant(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const digits = value === 0 ? 0 : 2 - Math.floor(Math.log10(Math.abs(value)));
  return value.toFixed(Math.min(6, Math.max(0, digits)));
}

export const percent = (share: number) => `${(share * 100).toFixed(0)} %`;
export const times = (ratio: number) => `${significant(ratio)}×`;
export const megabytes = (bytes: number) => `${significant(bytes / 1e6)} MB`;

export function aligned(head: string[], rows: Cell[][]): string {
  const lines = [head, ...rows.map((row) => row.map(text))];
  const widths = head.map((_, i) => Math.max(...lines.map((line) => (line[i] ?? '').length)));
  const isText = head.map((_, i) => rows.every((row) => !/^[-\d.]/.test(text(row[i]))));
  const line = (cells: string[]) =>
    widths
      .map((width, i) =>
        i === 0 || isText[i] ? (cells[i] ?? '').padEnd(width) : (cells[i] ?? '').padStart(width),
      )
      .join('  ')
      .trimEnd();
  return lines.map(line).join('\n');
}

export function markdown(head: string[], rows: Cell[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, i) => (i === 0 ? '---' : '--:'));
  return [line(head), line(rule), ...rows.map((row) => line(row.map(text)))].join('\n');
}
