// The display of long work: on a terminal one live line with a bar, elsewhere a plain line about
// every tenth of it. NO_COLOR (https://no-color.org) and TERM=dumb turn colour off.
import type { WriteStream } from 'node:tty';

type Output = Pick<WriteStream, 'write'> & { isTTY?: boolean; columns?: number };

const codes = { dim: 2, bold: 1, cyan: 36 } as const;

/** Paints text, or leaves it plain where colour is not wanted. */
export function painter(output: Output, env = process.env) {
  const plain = !output.isTTY || env.NO_COLOR || env.TERM === 'dumb';
  return (style: keyof typeof codes, text: string) =>
    plain ? text : `\x1b[${codes[style]}m${text}\x1b[0m`;
}

export function megabytes(bytes: number): string {
  return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

export function minutes(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

export const thousands = (value: number): string => Math.round(value).toLocaleString('en-US');

const eighths = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

function bar(fraction: number, width: number): [string, string] {
  const filled = Math.min(1, Math.max(0, fraction)) * width;
  const whole = Math.floor(filled);
  if (whole === width) return ['█'.repeat(width), ''];
  const part = eighths[Math.floor((filled - whole) * 8)];
  return ['█'.repeat(whole) + part.trimEnd(), '░'.repeat(width - whole - (part === ' ' ? 0 : 1))];
}

const redrawEvery = 100; // milliseconds

/** How much is done, in [0, 1], and what else is said of it, the least important last. */
interface State {
  fraction: number;
  words: readonly string[];
}

export class Progress {
  private readonly paint;
  private drawnAt = Number.NEGATIVE_INFINITY;
  private tenths = 0;
  private last: State | null = null;
  private drawn = false;

  constructor(private readonly output: Output = process.stdout) {
    this.paint = painter(output);
  }

  update(fraction: number, words: readonly string[]): void {
    const state = { fraction, words };
    this.last = state;
    if (this.output.isTTY) {
      const now = performance.now();
      if (now - this.drawnAt < redrawEvery) return;
      this.drawnAt = now;
      this.draw(state);
      return;
    }
    const tenths = Math.floor(state.fraction * 10 + 1e-9);
    if (tenths <= this.tenths) return;
    this.tenths = tenths;
    this.print(state);
  }

  /** Leaves the last state on the screen. */
  end(): void {
    if (!this.last) return;
    if (this.output.isTTY) {
      this.draw(this.last);
      this.output.write('\n');
    } else if (this.tenths < 10) {
      this.print(this.last);
    }
    this.last = null;
  }

  private print({ fraction, words }: State): void {
    const percent = `${Math.round(fraction * 100)} %`;
    this.output.write(`${[percent.padStart(5), ...words].join(' · ')}\n`);
  }

  private draw(state: State): void {
    const words = [...state.words];
    const percent = `${Math.round(state.fraction * 100)} %`.padStart(5);
    // A line wider than the terminal would wrap, and the next one would not overwrite it.
    const room = (this.output.columns ?? 80) - 1;
    while (words.length > 2 && words.join(' · ').length + percent.length + 14 > room) words.pop();
    const text = words.join(' · ');
    const width = Math.min(30, Math.max(0, room - text.length - percent.length - 3));
    const [done, rest] = bar(state.fraction, width);
    const line = `${this.paint('cyan', done)}${this.paint('dim', rest)} ${percent}  ${text}`;
    // To the first column, erasing what was there.
    this.output.write(`${this.drawn ? '\r\x1b[2K' : ''}${line}`);
    this.drawn = true;
  }
}

/** How far a task is, in [0, 1], and what else is said of it. */
export type TaskReport = (task: string, fraction: number, words: readonly string[]) => void;

/** A bar for each task, under its name. */
export function taskDisplay(): { report: TaskReport; end: () => void } {
  let [task, progress] = ['', new Progress()];
  const end = () => progress.end();
  const report: TaskReport = (name, fraction, words) => {
    if (name !== task) {
      end();
      process.stdout.write(`${name}\n`);
      [task, progress] = [name, new Progress()];
    }
    progress.update(fraction, words);
  };
  return { report, end };
}
