// An addon on the emulator with planted bugs, all asleep: the kernels of one operation are compiled
// again, the rest is linked from the emulator's build. Then one more process environment wakes a bug.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { sourcesOf } from './mutant-report.mjs';
import { bugs, header, plant } from './mutators.mjs';
import { fail, root } from './run.mjs';

const commandsPath = 'build/cmake/compile_commands.json';
const read = (path) => readFileSync(path, 'utf8');

/** Object files of the emulator's addon, and how a kernel's source is compiled. */
function parts(operation) {
  if (!existsSync(commandsPath)) fail('mutants: first `node scripts/build.mjs emulator`');
  const outputOf = (entry) => entry.output ?? / -o (\S+)/.exec(entry.command)[1];
  const entries = JSON.parse(read(commandsPath)).map((entry) => ({
    command: entry.command,
    source: entry.file.replace(`${root}/`, ''),
    output: outputOf(entry),
  }));
  const linked = entries.filter((e) => /(^|\/)(emulator|cpu|glue)\.dir\//.test(e.output));
  const isKernel = (e) =>
    e.source.startsWith(`native/ops/${operation}/`) && e.source.endsWith('.cu');
  return {
    kernels: linked.filter(isKernel),
    objects: linked.filter((e) => !isKernel(e)).map((e) => join('build/cmake', e.output)),
  };
}

/** Compiles; gives the lines that do not, as a set of "path:line". */
function compile(kernel, folder, object) {
  const words = kernel.command.split(/\s+/);
  words.splice(words.indexOf('-o'), 2);
  const args = words.slice(1).filter((w) => w !== '-c' && !w.endsWith(kernel.source));
  const launcher = process.env.CMAKE_CXX_COMPILER_LAUNCHER;
  const command = [
    ...(launcher ? [launcher] : []),
    words[0],
    ...['-include', join(folder, 'mutant.h'), `-I${join(folder, 'native')}`],
    ...args,
    '-O1',
    // A register array has no memory that the emulator could watch.
    ...['-fsanitize=bounds-strict', '-fsanitize-undefined-trap-on-error'],
    ...['-w', '-fmax-errors=0', '-x', 'c++'],
    ...['-c', join(folder, kernel.source), '-o', object],
  ];
  const options = { encoding: 'utf8', cwd: root, maxBuffer: 1 << 28 };
  const result = spawnSync(command[0], command.slice(1), options);
  if (result.status === 0) return new Set();
  const lines = [...result.stderr.matchAll(/(native\/\S+?):(\d+):\d+:/g)].map(
    (m) => `${m[1]}:${m[2]}`,
  );
  if (lines.length === 0) fail(`mutants: ${kernel.source} does not compile\n${result.stderr}`);
  return new Set(lines);
}

/** All bugs that the text of an operation's kernels has room for. */
export function allBugs(operation) {
  const found = [];
  for (const path of sourcesOf(operation)) found.push(...bugs(path, read(path), 1 + found.length));
  return found;
}

/** Builds with `wanted` planted; gives the addon and the bugs that compile. */
export function buildWith(operation, wanted) {
  const folder = join(root, 'build/mutants', operation);
  const { kernels, objects } = parts(operation);
  const sources = sourcesOf(operation);
  rmSync(join(folder, 'native'), { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'mutant.h'), header);
  let planted = wanted;
  const write = () => {
    for (const path of sources) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      const here = planted.filter((bug) => bug.path === path);
      writeFileSync(join(folder, path), plant(read(path), here));
    }
  };
  write();
  // A header that loses a bug after a kernel was compiled keeps its numbers: no need to go back.
  const own = kernels.map((kernel) => {
    const object = join(folder, `${kernel.source.replaceAll('/', '-')}.o`);
    for (let tries = 0; ; tries++) {
      const wrong = compile(kernel, folder, object);
      if (wrong.size === 0) return object;
      if (tries === 12) fail(`mutants: ${kernel.source}: no end of lines that do not compile`);
      planted = planted.filter((bug) => !wrong.has(`${bug.path}:${bug.line}`));
      write();
    }
  });
  // First, so that of functions in shared headers these copies are linked.
  const addon = join(folder, 'surprisal.node');
  const link = ['-shared', '-o', addon, ...own, ...objects, '-Wl,-z,nodelete', '-pthread', '-ldl'];
  const linked = spawnSync(process.env.CXX ?? 'g++', link, { encoding: 'utf8' });
  if (linked.status !== 0) fail(`mutants: ${linked.stderr}`);
  return { addon, planted, folder };
}
