// Plants bugs in the text of kernels. All bugs of a file are planted at once, each asleep until the
// process is told its number (SP_MUTANT of the header below): an operation is compiled once, however
// many bugs it gets. Only bodies of device functions are touched; text is rewritten, not parsed.

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

/** [begin, end) of the bodies of device functions. */
function bodies(text) {
  const found = [];
  for (const match of text.matchAll(/__(?:device|global)__/g)) {
    if (found.some(([begin, end]) => match.index > begin && match.index < end)) continue;
    let i = match.index + match[0].length;
    for (; i < text.length && text[i] !== '{' && text[i] !== ';'; i++) {
      if (text[i] === '(') i = closing(text, i);
      if (i < 0) break;
    }
    if (text[i] === '{') found.push([i, closing(text, i)]);
  }
  return found;
}

// Each gives edits [{ at, length, text }] for the bug k, where `text` may stand for the original.
const calls =
  'sync_threads|sync_warp|sync_cluster|sync_group|barrier_wait|barrier_arrive|barrier_arrive_at|' +
  'barrier_init_fence|copy_async_commit|bulk_commit|fence_async|fence_device|report_fault';
const insert = (at, text) => ({ at, length: 0, text });

const mutators = [
  {
    what: 'call left out',
    pattern: new RegExp(`(?<=[;{})]\\s*|\\belse\\s+)\\b(?:${calls})\\s*\\(`, 'g'),
    edits: (m, k) => [insert(m.index, `SP_M(${k}) ? void() : `)],
  },
  {
    what: 'waits for one group less',
    pattern: /\b(copy_async_wait|bulk_wait_read|bulk_wait|multiply_wait)<(\d+)>\(\)/g,
    edits: (m, k) => [insert(m.index, `SP_M(${k}) ? ${m[1]}<${Number(m[2]) + 1}>() : `)],
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
    what: 'condition taken for true',
    pattern: /\bif\s*\(/g,
    edits: (m, k) => [insert(m.index + m[0].length, `SP_M(${k}) || `)],
  },
  {
    what: 'bound off by one',
    pattern: / (<|>=|==|!=) (?=[^=])/g,
    edits: (m, k) => [insert(m.index + m[0].length, `SP_M(${k}) + `)],
  },
  {
    what: 'bound off by one',
    pattern: / (>|<=) (?=[^=])/g,
    edits: (m, k) => [insert(m.index + m[0].length, `-SP_M(${k}) + `)],
  },
  {
    what: 'address off by one',
    pattern: /\b(?:load|load_once|store|store_once|load_from_block|atomic_add)\s*\(/g,
    edits: (m, k) => [insert(m.index + m[0].length, `SP_M(${k}) + `)],
  },
  {
    what: 'lane off by one',
    pattern: /\bshuffle(?:_xor|_up|_down)?\s*\([^,;()]*(?:\([^()]*\)[^,;()]*)*, /g,
    edits: (m, k) => [insert(m.index + m[0].length, `SP_M(${k}) + `)],
  },
  {
    what: 'one forgotten',
    pattern: / [+-] 1(?![\w.])/g,
    edits: (m, k) => [{ at: m.index + 3, length: 1, text: `!SP_M(${k})` }],
  },
  {
    what: 'factor off by one',
    pattern: / ([*/%]=?) (\d+)(?![\w.])/g,
    edits: (m, k) => {
      const at = m.index + m[1].length + 2;
      return [{ at, length: m[2].length, text: `(${m[2]} + SP_M(${k}))` }];
    },
  },
  {
    what: 'term left out',
    pattern: / \+= /g,
    edits: (m, k) => [insert(m.index + m[0].length, `SP_M(${k}) ? 0 : `)],
  },
  {
    what: 'begins at one',
    pattern: / = 0(?=[;,])/g,
    edits: (m, k) => [{ at: m.index + 3, length: 1, text: `0 + SP_M(${k})` }],
  },
];

// Compile-time text cannot ask which bug is awake.
const constant = /\b(?:constexpr|static_assert|using|template)\b[^;{]*/g;

/** All bugs for a file, numbered from `first`: { number, line, what, code, edits }. */
export function bugs(path, text, first) {
  const masked = code(text).replace(constant, (s) => s.replace(/[^\n]/g, ' '));
  const inside = bodies(code(text));
  const found = [];
  for (const { what, pattern, edits } of mutators) {
    for (const match of masked.matchAll(pattern)) {
      if (!inside.some(([begin, end]) => match.index > begin && match.index < end)) continue;
      const before = text.slice(0, match.index + match[0].search(/\S/));
      const line = before.split('\n').length;
      found.push({ path, line, what, code: text.split('\n')[line - 1].trim(), match, edits });
    }
  }
  found.sort((a, b) => a.line - b.line || a.match.index - b.match.index);
  return found.map(({ match, edits, ...bug }, i) => {
    return { number: first + i, ...bug, edits: edits(match, first + i, masked) };
  });
}

/** The text with the bugs planted. */
export function plant(text, planted) {
  const edits = planted.flatMap((bug) => bug.edits);
  // At one place the closing of a condition comes before what is inserted after it.
  edits.sort((a, b) => b.at - a.at);
  let out = text;
  for (const { at, length, text: by } of edits)
    out = out.slice(0, at) + by + out.slice(at + length);
  return out;
}
