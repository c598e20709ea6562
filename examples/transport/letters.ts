// Letters of the Latin script as points: how they are spoken, in most of the languages that write
// them, with what accents add. Half the squared distance of two points: b and p 0.08, e and i 0.13,
// e and é 0.13, n and t 0.4, a and t over 1.

/** Features a letter has, and where they put it: [axis, value]. */
const features = {
  consonant: ['consonant', 1.5],
  // Place of a consonant, from the lips inwards; of a vowel, from front to back.
  labial: ['place', 0],
  dental: ['place', 0.3],
  palatal: ['place', 0.6],
  velar: ['place', 0.9],
  uvular: ['place', 1.1],
  glottal: ['place', 1.4],
  front: ['place', 0],
  central: ['place', 0.5],
  back: ['place', 1],
  // Openness.
  stop: ['open', 0],
  fricative: ['open', 0.6],
  approximant: ['open', 1.2],
  close: ['open', 0],
  mid: ['open', 0.5],
  lower: ['open', 0.7],
  low: ['open', 1],
  voiced: ['voiced', 0.4],
  nasal: ['nasal', 0.8],
  lateral: ['lateral', 0.8],
  rhotic: ['rhotic', 0.8],
  implosive: ['implosive', 0.4],
  round: ['round', 0.4],
  // Letters of one sound.
  other: ['other', 0.3],
} as const;

const consonants = `
p labial stop · b labial stop voiced · ɓ labial stop voiced implosive · m labial stop voiced nasal
f labial fricative · ƒ labial fricative other · v labial fricative voiced
ʋ labial approximant voiced · w labial approximant voiced round
t dental stop · ŧ dental fricative other · ƭ dental stop implosive · d dental stop voiced
ɖ dental stop voiced other · ɗ dental stop voiced implosive · đ dental stop voiced other
n dental stop voiced nasal · s dental fricative · ß dental fricative other
z dental fricative voiced · þ dental fricative other · ð dental fricative voiced other
l dental approximant voiced lateral · ł dental approximant voiced lateral other
r dental approximant voiced rhotic · ɽ dental approximant voiced rhotic other
c palatal stop · x velar fricative · ʒ palatal fricative voiced · ǯ palatal fricative voiced
j palatal approximant voiced · y palatal approximant voiced other
ƴ palatal approximant voiced implosive · ɲ palatal stop voiced nasal
k velar stop · ƙ velar stop implosive · g velar stop voiced · ǥ velar stop voiced other
ɠ velar stop voiced implosive · ɣ velar fricative voiced · ŋ velar stop voiced nasal
q uvular stop · h glottal fricative · ħ glottal fricative other · ʔ glottal stop · ꞌ glottal stop
`;

const vowels = `
i front close · ı central close · ɨ central close other
ᵾ central close round · ʉ central close round · ɩ front close other · u back close round · ʊ back close round other
e front mid · ɛ front lower · œ front mid round · ø front mid round other · ə central mid
ǝ central mid other · ɵ central mid round · ʌ back lower · o back mid round · ɔ back lower round
ᴐ back lower round · æ front low · a central low · ɑ back low
`;

// Marks after canonical decomposition, those that often stand for one thing on one axis.
const marks: Record<string, string> = {
  '\u0301': 'acute',
  '\u0300': 'grave',
  '\u0302': 'circumflex',
  '\u030c': 'caron',
  '\u0303': 'tilde',
  '\u0330': 'tilde',
  '\u0304': 'long',
  '\u0306': 'short',
  '\u0308': 'umlaut',
  '\u030b': 'double',
  '\u030a': 'ring',
  '\u0307': 'dot',
  '\u0323': 'below',
  '\u0327': 'below',
  '\u0326': 'below',
  '\u0328': 'below',
  '\u032d': 'below',
  '\u0331': 'below',
  '\u031b': 'round',
  '\u0309': 'hook',
};
const markSize = 0.5;

const axes = [
  ...new Set([...Object.values(features).map(([axis]) => axis), ...Object.values(marks)]),
];
/** Coordinates of a letter, D. */
export const letterSize = axes.length;

type Feature = keyof typeof features;

function listed(text: string, always: readonly Feature[]): [string, readonly Feature[]][] {
  return text
    .trim()
    .split(/\s*[·\n]\s*/)
    .map((entry) => {
      const [letter, ...words] = entry.split(' ');
      return [letter, [...always, ...(words as Feature[])]];
    });
}

const table = new Map<string, readonly Feature[]>([
  ...listed(consonants, ['consonant']),
  ...listed(vowels, ['voiced']),
]);

const bases = [...table.keys()];
/** Letters, accents aside. */
export const letterTotal = bases.length;

/**
 * Where a letter lies, and its number, accents aside; undefined where the table has no such letter.
 */
export function pointOf(letter: string): { point: Float32Array; label: number } | undefined {
  const [base = '', ...accents] = letter.normalize('NFD');
  const words = table.get(base);
  if (!words) return undefined;
  const point = new Float32Array(letterSize);
  const put = (axis: string, value: number) => {
    point[axes.indexOf(axis as (typeof axes)[number])] += value;
  };
  for (const [axis, value] of words.map((word) => features[word])) put(axis, value);
  for (const accent of accents) if (marks[accent]) put(marks[accent], markSize);
  return { point, label: bases.indexOf(base) };
}

const isAccent = (c: string) => c >= '\u0300' && c <= '\u036f';

/** How often each character occurs, accents that have no form of their own with it. */
function countCharacters(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  const count = (written: string) => counts.set(written, (counts.get(written) ?? 0) + 1);
  let written = '';
  for (const c of text.toLowerCase().normalize('NFC')) {
    if (isAccent(c)) {
      written += c;
    } else {
      count(written);
      written = c;
    }
  }
  return count(written);
}

/**
 * Counts of the letters of a text in lower case: a letter of the table with its accents. Of what
 * else is written, `others` counts the letters.
 */
export function countLetters(text: string): { counts: Map<string, number>; others: number } {
  const counts = new Map<string, number>();
  let others = 0;
  for (const [written, count] of countCharacters(text)) {
    // The small form of İ keeps its dot.
    const letter = written.replace(/^i\u0307/, 'i').normalize('NFC');
    if (pointOf(letter)) counts.set(letter, (counts.get(letter) ?? 0) + count);
    else if (/^(?![ʰ-˿ªº])\p{L}/u.test(letter)) others += count;
  }
  return { counts, others };
}
