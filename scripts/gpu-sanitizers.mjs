// compute-sanitizer over the steps, in shards that end in time: a tool that is cut off, or a machine
// that is given back, loses one shard, and the next call goes on behind what is kept.
import { program, watched } from './gpu-suite.mjs';
import { found } from './run.mjs';

const shardSeconds = 100; // new steps begin
const hungSeconds = 150; // and the last one may take

// A block of each array's own, and room behind it that nothing may touch.
const exact = { SURPRISAL_POOL: 'exact' };
const extra = { memcheck: ['--padding', '256', '--track-stream-ordered-races', 'all'] };

const nothing = { steps: [], failed: {}, shards: [], left: 1 };

/** The state after a shard. A shard that did not end says nothing of the steps that it ended. */
export function afterShard(state, { code, isCut, isOver, summary, lines, progress }) {
  const { ended, failed, inside, left } = progress;
  if (typeof code === 'number' && left !== undefined) {
    return {
      steps: [...state.steps, ...ended],
      failed: { ...state.failed, ...failed },
      shards: [...state.shards, { code, summary, steps: ended.length, ...(code && { lines }) }],
      left,
    };
  }
  if (isCut && isOver) return state;
  const why = isCut ? `does not end within ${hungSeconds} s` : `ends the program with ${code}`;
  const culprit = inside ?? 'program';
  return { ...state, failed: { ...state.failed, [culprit]: `${why}: ${summary}` } };
}

/** One word for a state: 0 is clean and complete. */
export function codeOf({ steps, failed, shards, left }) {
  const bad = shards.find(({ code }) => code !== 0);
  if (bad) return bad.code;
  if (Object.keys(failed).length > 0) return 'failed steps';
  if (left > 0) return 'unfinished';
  return steps.length > 0 ? 0 : 'no steps';
}

function shard(suite, name, state, seconds, isPlain = false) {
  const failures = Object.keys(state.failed);
  const watch = watched(suite, name, [...state.steps, ...failures]);
  const more = isPlain ? [] : ['--launch-timeout', '60', ...(extra[name] ?? [])];
  const options = ['--tool', name, '--error-exitcode', '9', '--print-limit', '20', ...more];
  const steps = [program, 'values', ...watch.args, '--seconds', String(seconds)];
  const log = `${name}-${state.shards.length + failures.length}`;
  const timeout = Math.max(1, Math.min(seconds + hungSeconds, suite.secondsLeft()));
  const args = [...options, process.execPath, ...steps];
  const { code, output, isCut } = suite.tool(log, compute(), args, exact, timeout);
  if (!isPlain && /unrecogni[sz]ed option|unknown option/i.test(output))
    return shard(suite, name, state, seconds, true);
  const end = `ended with ${code}: ${output.slice(-200)}`;
  const summary = /(?:ERROR|RACECHECK) SUMMARY: .*/.exec(output)?.[0] ?? end;
  const lines = output.split('\n').filter((line) => /^=========\s+\S/.test(line));
  return afterShard(state, {
    code,
    isCut,
    isOver: suite.secondsLeft() === 0,
    summary,
    lines: lines.slice(0, 20),
    progress: watch.progress(),
  });
}

const compute = () => found('compute-sanitizer') ?? found('/usr/local/cuda/bin/compute-sanitizer');

/** Goes on with one tool for some seconds; its state is kept after each shard. */
export function runSanitizer(suite, name, seconds) {
  if (!compute()) {
    const state = { code: 'compute-sanitizer is not here' };
    suite.keep(name, state);
    return state;
  }
  const end = Date.now() + seconds * 1000;
  const before = suite.only ? undefined : suite.read(name);
  let state = before?.steps ? before : nothing;
  const { program: _, ...failed } = state.failed;
  state = { ...state, failed }; // a program that would not start is tried again
  const tooMany = 5;
  const goesOn = () =>
    state.left > 0 && !state.failed.program && Object.keys(state.failed).length < tooMany;
  while (goesOn()) {
    const left = Math.min(suite.secondsLeft(), (end - Date.now()) / 1000);
    if (left < 20) break;
    state = shard(suite, name, state, Math.max(10, Math.min(shardSeconds, left - 30)));
    suite.keep(name, { ...state, code: codeOf(state) });
  }
  return { ...state, code: codeOf(state) };
}
