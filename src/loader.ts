// Where the addon may lie, and what came of each attempt to load it. An addon that was compiled here
// comes before one that came with the package: whoever built it wanted that one. Names below
// prebuilds/ are those of prebuildify: <platform>-<arch>/<name>[.<tag>...].node.
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** One file that was tried. */
export interface Attempt {
  path: string;
  loaded: boolean;
  /** Why not; empty for the one that was loaded. */
  reason: string;
}

export interface Loaded {
  /** What the file exports, or null where none could be loaded. */
  addon: object | null;
  /** In the order of trying; the last one is the one that was loaded, if any. */
  attempts: readonly Attempt[];
}

/** The folder of the package. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** The C library, of which prebuilt files may name the one that they need. */
export const libc = existsSync('/etc/alpine-release') ? 'musl' : 'glibc';

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

/** Whether a folder of prebuilds/ is for this machine: 'linux-x64', 'darwin-x64+arm64'. */
function isForMachine(folder: string): boolean {
  const [platform, arches = ''] = folder.split('-');
  return platform === process.platform && arches.split('+').includes(process.arch);
}

/** Whether no tag of a file name speaks against this machine: 'surprisal.musl.node'. */
function isFitting(file: string): boolean {
  const parts = file.split('.');
  if (parts.pop() !== 'node') return false;
  const tags = parts.slice(1);
  const other = libc === 'musl' ? 'glibc' : 'musl';
  return !tags.includes(other) && !tags.some((tag) => /^(abi\d+|electron)$/.test(tag));
}

/** Prebuilt files for this machine, those with more tags first; where one would be if there is none. */
function prebuilt(): string[] {
  const folder = join(root, 'prebuilds');
  const files = namesIn(folder)
    .filter(isForMachine)
    .flatMap((name) =>
      namesIn(join(folder, name))
        .filter(isFitting)
        .sort((a, b) => b.split('.').length - a.split('.').length)
        .map((file) => join(folder, name, file)),
    );
  if (files.length > 0) return files;
  return [join(folder, `${process.platform}-${process.arch}`, 'surprisal.node')];
}

function candidates(): string[] {
  const forced = process.env.SURPRISAL_NATIVE;
  if (forced) return [resolve(forced)];
  return [
    join(root, 'build', 'cmake', 'Release', 'surprisal.node'),
    join(root, 'build', 'Release', 'surprisal.node'),
    ...prebuilt(),
  ];
}

/** Loads the first addon that can be loaded. */
export function load(): Loaded {
  const require = createRequire(import.meta.url);
  const attempts: Attempt[] = [];
  for (const path of candidates()) {
    const attempt = { path, loaded: false, reason: '' };
    attempts.push(attempt);
    if (!existsSync(path)) {
      attempt.reason = 'not there';
      continue;
    }
    try {
      const addon = require(path) as object;
      attempt.loaded = true;
      return { addon, attempts };
    } catch (error) {
      attempt.reason = (error as Error).message;
    }
  }
  return { addon: null, attempts };
}

export const isClone = existsSync(join(root, 'tsconfig.json'));

/** The command that builds the addon with these options: a clone and a package have their own. */
export function buildCommand({ clone = '', installed = '' } = {}): string {
  if (isClone) return `\`npm run build${clone && ` -- ${clone}`}\``;
  return `\`npx surprisal build${installed && ` ${installed}`}\``;
}

/** What to do where no addon could be loaded: the commands differ in a clone and in a package. */
export function remedies(): string[] {
  return [
    isClone
      ? 'In this clone of the repository run `npm ci && npm run build` (needs g++, make and Python).'
      : 'Compile it here with `npx surprisal build` (needs CMake, g++ and make).',
    '`npx surprisal doctor` says what was found; SURPRISAL_NATIVE names another file to load.',
  ];
}

/** The error of a package without an addon, with every attempt. */
export function missingError(attempts: readonly Attempt[]): Error {
  const where = `${process.platform}-${process.arch} (${libc}), Node ${process.versions.node}`;
  const message = [
    `surprisal: no native addon could be loaded on ${where}. Tried:`,
    ...attempts.map(({ path, reason }) => `  ${path}: ${reason}`),
    ...remedies(),
  ].join('\n');
  return Object.assign(new Error(message), { code: 'ERR_NATIVE_MISSING' });
}
