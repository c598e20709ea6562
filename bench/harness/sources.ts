// Where the repository is, and which state of it a figure belongs to.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

/** The repository's root; benches run from build/. */
export const root = findRoot();

function git(...args: string[]): string {
  try {
    const stdio: ['ignore', 'pipe', 'ignore'] = ['ignore', 'pipe', 'ignore'];
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio }).trim();
  } catch {
    return '';
  }
}

/**
 * Commit of the working tree, with a plus sign when files that git tracks have changed. A bundle
 * (scripts/bundle.mjs) has no git, and the commit it was made from in a file.
 */
export function commit(): string {
  const bundled = join(root, 'COMMIT');
  if (existsSync(bundled)) return readFileSync(bundled, 'utf8').trim();
  const hash = git('rev-parse', '--short=10', 'HEAD');
  return git('status', '--porcelain', '--untracked-files=no') ? `${hash}+` : hash;
}

/** Git's hash of each source a kernel is built from: figures belong to these, not to a commit. */
export function sourceHashes(folders: string[]): Record<string, string> {
  const paths = folders
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) => readdirSync(join(root, folder)).map((name) => `${folder}/${name}`))
    .sort();
  const hashes = paths.length ? git('hash-object', ...paths).split('\n') : [];
  return Object.fromEntries(paths.map((path, i) => [path, (hashes[i] ?? '').slice(0, 12)]));
}
