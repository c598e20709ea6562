// The guides are true: every block of TypeScript compiles and runs and prints what it says, excerpts
// are in the files they are from, commands and links exist, every error code is in the reference and
// every public name on some page.
//
// Comments before a block: `<!-- setup: code -->` goes before it, `<!-- smaller: 50257=509 -->` runs it
// with other numbers, `<!-- cuda -->` runs it where there is a device. A block whose last line is
// `// RangeError: message` must end so; `console.log(x); // text` must print that,
// as must `f(); // prints text`.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { format } from 'node:util';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import * as onnx from '../src/adapters/onnx.js';
import * as tfjs from '../src/adapters/tfjs.js';
import { commandNames } from '../src/cli/commands.js';
import * as sp from '../src/index.js';

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync('docs')
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
const textOf = Object.fromEntries(pages.map((page) => [page, readFileSync(page, 'utf8')]));

interface Block {
  name: string;
  language: string;
  notes: string;
  code: string;
}

function blocksOf(page: string): Block[] {
  const pattern = /((?:<!--[\s\S]*?-->\n)*)```(\w*)\n([\s\S]*?)```/g;
  const text = textOf[page];
  return [...text.matchAll(pattern)].map(({ 1: notes, 2: language, 3: code, index }) => {
    const line = text.slice(0, index + notes.length).split('\n').length;
    return { name: `${page}:${line}`, language, notes, code };
  });
}

const blocks = pages.flatMap(blocksOf);
const programs = blocks.filter(({ language }) => language === 'ts');

function noteOf({ notes }: Block, word: string): string | undefined {
  return new RegExp(`<!-- ${word}:?([\\s\\S]*?)-->`).exec(notes)?.[1].trim();
}

/** The block as a module, with what its notes add. */
function moduleOf(block: Block): string {
  const preamble = block.code.includes("from 'surprisal'")
    ? ''
    : "import * as sp from 'surprisal';\n";
  return `${preamble}${noteOf(block, 'setup') ?? ''}\n${block.code}\nexport {};\n`;
}

function smaller(block: Block, code: string): string {
  const pairs = (noteOf(block, 'smaller') ?? '').split(',').filter(Boolean);
  return pairs.reduce((text, pair) => {
    const [from, to] = pair.trim().split('=');
    return text.replaceAll(new RegExp(`\\b${from}\\b`, 'g'), to);
  }, code);
}

const require = createRequire(import.meta.url);
const own: Record<string, unknown> = {
  surprisal: sp,
  'surprisal/tfjs': tfjs,
  'surprisal/onnx': onnx,
};

/** Runs a module and gives what it printed and how it failed. */
async function outcome(code: string): Promise<{ printed: string[]; failure: string | undefined }> {
  const printed: string[] = [];
  const console = { log: (...values: unknown[]) => printed.push(format(...values)) };
  const compilerOptions = { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 };
  const js = ts.transpileModule(code, { compilerOptions }).outputText;
  const AsyncFunction = (async () => {}).constructor as new (
    ...words: string[]
  ) => (...values: unknown[]) => Promise<void>;
  try {
    await new AsyncFunction('require', 'exports', 'console', js)(
      (name: string) => own[name] ?? require(name),
      {},
      console,
    );
    return { printed, failure: undefined };
  } catch (error) {
    return { printed, failure: `${(error as Error).name}: ${(error as Error).message}` };
  }
}

const threads = sp.getThreads();

describe('programs', () => {
  test.each(programs)('$name', async (block) => {
    if (noteOf(block, 'cuda') !== undefined && !sp.cuda.isAvailable()) {
      return console.info(`skipped: ${block.name}: ${sp.cuda.status().reason}`);
    }
    const { printed, failure } = await outcome(smaller(block, moduleOf(block)));
    sp.setThreads(threads);
    const expected = /^\/\/ ((?:\w*Error): .*)\n$/m.exec(block.code)?.[1];
    expect(failure).toBe(expected);
    const lines = block.code.split('\n').filter((line) => line.includes('console.log('));
    const said = [...block.code.matchAll(/^.*; \/\/ (?:prints )?(.*)$/gm)]
      .filter(([line]) => /console\.log\(|\/\/ prints /.test(line))
      .map(([, text]) => text);
    if (said.length > 0 && said.length === lines.length) expect(printed).toEqual(said);
    for (const text of said) expect(printed.join('\n')).toContain(text);
  });

  test('compile', () => {
    const folder = 'build/docs';
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    for (const block of programs) {
      const file = `${block.name.replace(/[^\w]+/g, '-')}.ts`;
      writeFileSync(join(folder, file), moduleOf(block));
    }
    const config = {
      extends: '../../tsconfig.json',
      compilerOptions: {
        noUnusedLocals: false,
        paths: {
          surprisal: ['../../src/index.ts'],
          'surprisal/tfjs': ['../../src/adapters/tfjs.ts'],
          'surprisal/onnx': ['../../src/adapters/onnx.ts'],
        },
      },
      include: ['*.ts'],
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
    const compiler = 'node_modules/typescript-7';
    const { bin } = JSON.parse(readFileSync(join(compiler, 'package.json'), 'utf8'));
    const result = spawnSync(process.execPath, [join(compiler, bin.tsc), '-p', folder]);
    expect(String(result.stdout)).toBe('');
  });
});

test('excerpts are in the files they are from', () => {
  const excerpts = blocks.filter(({ language }) => language === 'cpp' || language === 'js');
  expect(excerpts.length).toBeGreaterThan(0);
  for (const block of excerpts) {
    const from = readFileSync(noteOf(block, 'from')!, 'utf8').split('\n');
    for (const line of block.code.split('\n')) expect(from, block.name).toContain(line);
  }
});

test('commands exist', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
  const text = Object.values(textOf).join('\n');
  for (const [, name] of text.matchAll(/npm run ([\w:-]+)/g)) expect(scripts).toHaveProperty(name);
  for (const [, name] of text.matchAll(/npx surprisal (\w+)/g))
    expect(commandNames).toContain(name);
});

const packed: string[] = JSON.parse(readFileSync('package.json', 'utf8')).files;
const isPacked = (path: string) =>
  path === 'README.md' || packed.some((name) => path === name || path.startsWith(`${name}/`));

test('links lead somewhere, and every page is in the index', () => {
  for (const page of pages) {
    for (const [, target] of textOf[page].matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)) {
      if (/^https?:/.test(target)) continue;
      const path = join(dirname(page), target);
      expect(existsSync(path), `${page}: ${target}`).toBe(true);
      // What npm packs leads to what it packs.
      if (page !== 'CONTRIBUTING.md') expect(isPacked(path), `${page}: ${target}`).toBe(true);
    }
  }
  for (const page of pages.filter(
    (name) => name.startsWith('docs/') && name !== 'docs/README.md',
  )) {
    expect(textOf['docs/README.md']).toContain(`(${page.slice('docs/'.length)})`);
  }
});

test('every public function, method and optimiser is on some page', () => {
  const text = Object.values(textOf).join('\n');
  const { prototype } = sp.Tensor;
  const names = [sp, sp.optim, sp.cuda, prototype].flatMap((from) =>
    Object.getOwnPropertyNames(from),
  );
  const internal = ['constructor', 'pointer', 'output', 'toString'];
  const missing = names.filter((name) => !new RegExp(`\\b${name}\\b`).test(text));
  expect(missing.filter((name) => !internal.includes(name))).toEqual([]);
});

test('every error code is in the reference, with its class', async () => {
  const sources = ['src', 'native'].flatMap((folder) =>
    readdirSync(folder, { recursive: true })
      .filter((name) => /\.(ts|cpp|h|cu)$/.test(String(name)))
      .map((name) => readFileSync(join(folder, String(name)), 'utf8')),
  );
  const used = new Set(
    sources.flatMap((text) => text.match(/(?<=['"])ERR_[A-Z_]+(?=['"])/g) ?? []),
  );
  // Of node:util, in the command line.
  const foreign = /^ERR_PARSE_ARGS/;
  const rows = [...textOf['docs/errors.md'].matchAll(/^\| `(ERR_\w+)` \| (\w+) \|/gm)];
  expect(rows.map(([, code]) => code).sort()).toEqual(
    [...used].filter((c) => !foreign.test(c)).sort(),
  );
  const { errorOf } = await import('../src/expect.js');
  const native = new Set(['ERR_OUT_OF_MEMORY']);
  for (const [, code, name] of rows) {
    if (!native.has(code))
      expect([code, errorOf(code as sp.ErrorCode, '').name]).toEqual([code, name]);
  }
});
