// Plants bugs in the text of kernels. All bugs of a file are planted at once, each asleep until the
// process is told its number (SURPRISAL_MUTANT): an operation is compiled once, however many bugs it
// gets. Only bodies of device functions are touched; text is rewritten, not parsed.

/** What the planted code calls; comes before everything else (-include). */
export const header = `#pragma once
#include <fcntl.h>
#include <unistd.h>
#include <cstdlib>
#include <cstdio>
// Whether bug k is awake. Notes which bugs were reached at all.
inline int sp_awake() {
  const char* text = std::getenv("SURPRISAL_MUTANT");
  return text ? std::atoi(text) : 0;
}
inline const int sp_mutant = sp_awake();
inline const int sp_log = [] {
  const char* path = std::getenv("SURPRISAL_MUTANTS_SEEN");
  return path ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0644) : -1;
}();
inline bool sp_seen[20000];
inline bool sp_is(int k) {
  if (!sp_seen[k]) {
    sp_seen[k] = true;
    if (sp_log >= 0) dprintf(sp_log, "%d\\n", k);
  }
  return sp_mutant == k;
}
#define SP_M(k) sp_is(k)
`;

/** The text with comments, strings and preprocessor lines blanked, of the same length. */
export function code(text) {
  const blank = (s) => s.replace(/[^\n]/g, ' ');
  return text
    .replace(/\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"/g, blank)
    .replace(/^[ \t]*#(?:[^\n\\]|\\\n|\\.)*/gm, blank);
}

/** Where the bracket that opens at `at` closes. */
function closing(text, at) {
  const pairs = { '(': ')', '{': '}', '[': ']' };
  const open = text[at];
  for (let depth = 0, i = at; i < text.length; i++) {
    if (text[i] === open) depth++;
    else if (text[i] === pairs[open] && --depth === 0) return i;
  }
  return -1;
}

/** The bodies of device functions: where they begin and end, and what the function is called. */
function bodies(text) {
  const found = [];
  for (const match of text.matchAll(/__(?:device|global)__|\bSP_HOST_DEVICE\b/g)) {
    if (found.some(({ begin, end }) => match.index > begin && match.index < end)) continue;
    let i = match.index + match[0].length;
    let name = '';
    for (; i < text.length && text[i] !== '{' && text[i] !== ';'; i++) {
      if (text[i] !== '(') continue;
      const word = /(\w+)\s*$/.exec(text.slice(match.index, i))?.[1] ?? '';
      if (word !== '__launch_bounds__') name ||= word;
      i = closing(text, i);
      if (i < 0) break;
    }
    if (text[i] === '{') found.push({ begin: i, end: closing(text, i), name });
  }
  return found;
}

const insert = (at, text) => ({ at, length: 0, text });
const before = (m, text) => [insert(m.index, text)];
const after = (m, text) => [insert(m.index + m[0].length, text)];
/** A call as a statement, so that it may be left out. */
const statement = (names) => new RegExp(`(?<=[;{})]\\s*|\\belse\\s+)\\b(?:${names})\\s*\\(`, 'g');
/** Where the header of a loop that holds `at` begins; -1 where there is none. */
function loopHeader(text, at) {
  const begin = text.lastIndexOf('for (', at);
  return begin >= 0 && closing(text, begin + 4) > at ? begin : -1;
}
const inLoopHeader = (m, text) => loopHeader(text, m.index) >= 0;

// In each `edits` gives [{ at, length, text }] for the bug k, where `text` may stand for the
// original. Synchronisation first, then places, then tails and sums.
const mutators = [
  {
    what: 'barrier left out',
    pattern: statement('sync_threads|sync_warp|sync_cluster|sync_group'),
    edits: (m, k) => before(m, `SP_M(${k}) ? void() : `),
  },
  {
    what: 'wait left out',
    pattern: statement('barrier_wait'),
    edits: (m, k) => before(m, `SP_M(${k}) ? void() : `),
  },
  {
    what: 'waits for one group less',
    pattern: /\b(copy_async_wait|bulk_wait_read|bulk_wait|multiply_wait)<([^<>()]+)>\(\)/g,
    edits: (m, k) => before(m, `SP_M(${k}) ? ${m[1]}<${m[2]} + 1>() : `),
  },
  {
    what: 'commit, fence or arrival left out',
    pattern: statement(
      'barrier_arrive|barrier_arrive_at|barrier_expect|barrier_init_fence|copy_async_commit|' +
        'bulk_commit|multiply_commit|fence_async|fence_device|multiply_fence',
    ),
    edits: (m, k) => before(m, `SP_M(${k}) ? void() : `),
  },
  {
    what: 'ring not turned',
    pattern: / \^= 1(?![\w.])|\b\w+\.next\(\)/g,
    edits: (m, k) =>
      m[0].endsWith('1')
        ? [{ at: m.index + 4, length: 1, text: `!SP_M(${k})` }]
        : before(m, `SP_M(${k}) ? void() : `),
  },
  {
    what: 'count of arrivals, bytes or threads',
    pattern: /\b(?:barrier_init|barrier_expect)\s*\([^;]*, (?=[^,;]*;)|\bsync_group\s*\(/g,
    edits: (m, k) => after(m, `SP_M(${k}) + `),
  },
  {
    what: 'lane off by one',
    pattern: /\bshuffle(?:_up|_down)?\s*\([^,;()]*(?:\([^()]*\)[^,;()]*)*, /g,
    edits: (m, k) => after(m, `SP_M(${k}) + `),
  },
  {
    // One more would do: 17, 9, 5, 3 and 2 lead from each lane to all others, as 16, 8, 4, 2 and 1.
    what: 'lane twice as far',
    pattern: /\bshuffle_(?:xor|state)\s*\([^,;()]*(?:\([^()]*\)[^,;()]*)*, /g,
    edits: (m, k) => after(m, `(1 + SP_M(${k})) * `),
  },
  {
    what: 'address off by one',
    pattern: /\b(?:(?:load|store)(?:_once|_from_block)?|load_elements|atomic_\w+)\s*\(/g,
    edits: (m, k) => after(m, `SP_M(${k}) + `),
  },
  {
    // What addresses by bytes: the next 16.
    what: 'address off by one',
    pattern:
      /\b(?:(?:operand|box_load(?:_all)?|bulk_(?:load|store)|copy_async16|store_tiles)\s*\(|(?:load_tiles(?:_transposed)?|store_elements|box_store)\([^,;()]*, )/g,
    edits: (m, k) => after(m, `16 * SP_M(${k}) + `),
  },
  {
    what: 'bound off by one',
    pattern: / (<|>=|==|!=) (?=[^=])/g,
    edits: (m, k) => after(m, `SP_M(${k}) + `),
  },
  {
    what: 'bound off by one',
    pattern: / (>|<=) (?=[^=])/g,
    edits: (m, k) => after(m, `-SP_M(${k}) + `),
  },
  {
    what: 'condition taken for true',
    pattern: /\bif\s*\(/g,
    edits: (m, k) => after(m, `SP_M(${k}) || `),
  },
  {
    what: 'condition taken for false',
    pattern: /\bif\s*\(/g,
    edits: (m, k, text) => {
      const open = m.index + m[0].length - 1;
      return [insert(open + 1, '('), insert(closing(text, open), `) && !SP_M(${k})`)];
    },
  },
  {
    what: 'choice taken for true',
    pattern: / \? /g,
    edits: (m, k) => before(m, ` || SP_M(${k})`),
  },
  {
    what: 'choice taken for false',
    pattern: / \? /g,
    edits: (m, k) => before(m, ` && !SP_M(${k})`),
  },
  {
    what: 'stride off by one',
    pattern: / \+= /g,
    only: inLoopHeader,
    edits: (m, k) => after(m, `SP_M(${k}) + `),
  },
  {
    what: 'factor off by one',
    pattern: / ([*/%]=?) (\d+|[A-Za-z_](?:[\w.]|::|->)*(?:\(\))?)(?![\w.(<[:]|->)/g,
    edits: (m, k) => {
      const at = m.index + m[1].length + 2;
      return [{ at, length: m[2].length, text: `(${m[2]} + SP_M(${k}))` }];
    },
  },
  {
    what: 'one forgotten',
    pattern: / [+-] 1(?![\w.])/g,
    edits: (m, k) => [{ at: m.index + 3, length: 1, text: `!SP_M(${k})` }],
  },
  {
    what: 'begins at one',
    pattern: / = 0(?=[;,])/g,
    edits: (m, k) => [{ at: m.index + 3, length: 1, text: `0 + SP_M(${k})` }],
  },
  {
    what: 'term left out',
    pattern: / \+= /g,
    only: (m, text) => !inLoopHeader(m, text),
    edits: (m, k) => after(m, `SP_M(${k}) ? 0 : `),
  },
  {
    what: 'fault not reported',
    pattern: statement('report_fault'),
    edits: (m, k) => before(m, `SP_M(${k}) ? void() : `),
  },
];

/** The kinds of bugs, synchronisation first. */
export const kinds = [...new Set(mutators.map(({ what }) => what))];

// Compile-time text cannot ask which bug is awake.
const constant = /\b(?:constexpr|static_assert|using|template)\b[^;{]*/g;
// Nor can the size of an array: what declares one, up to its value.
const sizes =
  /(?<=[;{})]\s*)(?!return\b|else\b)(?:const )?[A-Za-z_][\w:<>]* [A-Za-z_][^=;(){}]*\[[^=;(){}]*(?=;| =)/g;

/** The lines of the text from `begin` to `end`, with one bug in it and awake, as one reads them. */
function shown(text, edits, k) {
  const first = Math.min(...edits.map(({ at }) => at));
  const begin = text.lastIndexOf('\n', first) + 1;
  const line = text.slice(begin, text.indexOf('\n', first));
  const here = edits.filter(({ at }) => at <= begin + line.length);
  const moved = here.map((edit) => ({ ...edit, at: edit.at - begin }));
  return change(line, moved).replaceAll(`SP_M(${k})`, '1').trim();
}

/**
 * All bugs for a file, numbered from `first`: { number, path, line, in, what, bug, edits }. `in` is
 * the function, `bug` the line as it reads with the bug awake; where they are alike, `nth` counts.
 */
export function bugs(path, text, first) {
  const blanked = code(text);
  const hide = (s) => s.replace(/[^\n]/g, ' ');
  const masked = blanked.replace(constant, hide).replace(sizes, hide);
  const inside = bodies(blanked);
  const found = [];
  for (const { what, pattern, only, edits } of mutators) {
    for (const match of masked.matchAll(pattern)) {
      const body = inside.find(({ begin, end }) => match.index > begin && match.index < end);
      if (!body || only?.(match, masked) === false) continue;
      const line = text.slice(0, match.index + match[0].search(/\S/)).split('\n').length;
      found.push({ bug: { path, line, in: body.name, what }, match, edits });
    }
  }
  found.sort((a, b) => a.bug.line - b.bug.line || a.match.index - b.match.index);
  const seen = new Map();
  return found.map(({ bug, match, edits }, i) => {
    const number = first + i;
    const made = edits(match, number, masked);
    const named = { ...bug, bug: shown(text, made, number) };
    const nth = seen.get(key(named)) ?? 0;
    seen.set(key(named), nth + 1);
    return { ...named, ...(nth > 0 && { nth }), number, edits: made };
  });
}

/** What a bug is called from run to run, wherever its line has moved. */
export const key = (bug) =>
  [bug.path, bug.in, bug.what, bug.bug, bug.nth ?? 0].map(String).join('\n');

function change(text, edits) {
  let out = text;
  for (const { at, length, text: by } of [...edits].sort((a, b) => b.at - a.at))
    out = out.slice(0, at) + by + out.slice(at + length);
  return out;
}

/** The text with the bugs planted. */
export const plant = (text, planted) =>
  change(
    text,
    planted.flatMap((bug) => bug.edits),
  );
