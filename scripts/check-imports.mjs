// Who may include or import whom (docs/architecture.md). Prints each breach as file:line.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, sep } from 'node:path';
import './run.mjs';

function filesIn(folder, pattern) {
  try {
    return readdirSync(folder, { recursive: true })
      .filter((name) => pattern.test(name))
      .map((name) => join(folder, name).split(sep).join('/'));
  } catch {
    return [];
  }
}

/** [line number, what it names] for each match of the pattern's first group. */
function mentions(file, pattern) {
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.flatMap((line, i) => [...line.matchAll(pattern)].map((match) => [i + 1, match[1]]));
}

const problems = [];
const breach = (file, line, text) => problems.push(`${file}:${line}: ${text}`);

// Folder of native/ -> the folders it may include from; ops and node have rules of their own.
const nativeMay = {
  core: ['core'],
  cpu: ['core', 'cpu'],
  cuda: ['core', 'cuda'],
  node: ['core', 'cpu', 'cuda', 'node'],
};

/** Headers that device.h puts before kernels: nobody else names a back end. */
function checkBackEnd(file, line, path) {
  const inside =
    file.startsWith('native/cuda/emulator/') || /^native\/cuda\/(device|ptx)\.h$/.test(file);
  if (/^cuda\/(emulator\/|ptx)/.test(path) && !inside)
    breach(file, line, `"${path}" is a back end of cuda/device.h, which is to be included`);
}

// Compiled once and linked into both addons, so that nothing in it may ask which one that is.
const compiledOnce = /^native\/(core|cpu)\/|^native\/ops\/.*(?<!\/bind)\.(cpp|h)$/;

function checkBothAddons(file) {
  if (!compiledOnce.test(file)) return;
  for (const [line, name] of mentions(file, /^\s*#.*\b(SURPRISAL_(?:CUDA|EMULATOR))\b/g))
    breach(file, line, `is compiled once for both addons and cannot ask for ${name}`);
}

function checkNative(file) {
  const [, area, op] = file.split('/');
  checkBothAddons(file);
  for (const [line, path] of mentions(
    file,
    /^\s*#\s*(?:include|define SURPRISAL_BODY)\s*"([^"]+)"/g,
  )) {
    const [target, targetOp] = path.split('/');
    checkBackEnd(file, line, path);
    if (!path.includes('/')) {
      breach(file, line, `"${path}" is not rooted at native/`);
    } else if (area === 'ops') {
      const own = target === 'ops' && targetOp === op;
      const glue = target === 'node' && file.endsWith('/bind.cpp');
      if (!own && !glue && !['core', 'cpu', 'cuda'].includes(target)) {
        breach(
          file,
          line,
          `an operation includes its own folder, core, cpu and cuda, not "${path}"`,
        );
      }
    } else if (!nativeMay[area]?.includes(target)) {
      breach(file, line, `${area}/ may include from ${nativeMay[area]?.join(', ')}, not "${path}"`);
    }
  }
  for (const [line, header] of mentions(file, /^\s*#\s*include\s*<(cuda(?:_runtime)?[^>]*)>/g)) {
    if (!/^native\/cuda\/(ptx\.h|cudart[^/]*)$/.test(file))
      breach(file, line, `only cuda/ptx.h and cuda/cudart* know <${header}>`);
  }
  if (area === 'node' || file.endsWith('/bind.cpp')) return;
  for (const [line, header] of mentions(
    file,
    /^\s*#\s*include\s*<((?:node_api|js_native_api|napi)[^>]*)>/g,
  )) {
    breach(file, line, `only node/ and bind.cpp may know Node, not <${header}>`);
  }
}

function checkTypeScript(file) {
  for (const [line, specifier] of mentions(file, /\b(?:from|import)\s*\(?\s*'([^']+)'/g)) {
    if (!specifier.startsWith('.')) {
      if (!specifier.startsWith('node:'))
        breach(file, line, `no run-time dependencies: '${specifier}'`);
      continue;
    }
    const target = normalize(join(dirname(file), specifier))
      .split(sep)
      .join('/');
    if (!target.startsWith('src/'))
      breach(file, line, `src imports nothing outside it: '${specifier}'`);
    if (!specifier.endsWith('.js')) breach(file, line, `'${specifier}' should end in .js`);
  }
}

const indexFile = filesIn('src', /^index\.ts$/).map((file) => readFileSync(file, 'utf8'));
const exportsOf = /export\s+(?:type\s+)?(\*|\{[^}]*\}).*?from\s+'\.\/([^']+)\.js'/g;
const published = indexFile.flatMap((text) => [...text.matchAll(exportsOf)]);

/** Whether src/index.ts exports a name of an operation's file. */
function isPublic(name, op) {
  const named = new RegExp(`\\*|\\b${name}\\b`);
  return published.some(([, names, from]) => from === `ops/${op}` && named.test(names));
}

/** An operation may use what others publish, and no more of them. */
function checkOperation(file) {
  const text = readFileSync(file, 'utf8');
  const siblings = /import\s+(?:type\s+)?\{([^}]*)\}\s+from\s+'\.\/([^']+)\.js'/g;
  for (const { 1: list, 2: op, index } of text.matchAll(siblings)) {
    const line = text.slice(0, index).split('\n').length;
    for (const [, name] of list.matchAll(/(?:^|,)\s*(?:type\s+)?(\w+)/g)) {
      if (!isPublic(name, op)) breach(file, line, `'${name}' is internal to ops/${op}.ts`);
    }
  }
}

for (const file of filesIn('native', /\.(h|cuh|cpp|cu)$/)) checkNative(file);
for (const file of filesIn('src', /\.ts$/)) checkTypeScript(file);
for (const file of filesIn('src/ops', /\.ts$/)) checkOperation(file);
for (const problem of problems) console.error(problem);
process.exitCode = problems.length > 0 ? 1 : 0;
