// Reads the fixtures that golden/make_golden.py wrote: torch's answers in float64.
import { readFileSync } from 'node:fs';

export interface Golden<Case> {
  torch: string;
  rows: number;
  classes: number;
  width: number;
  inputs: Record<string, number[]>;
  cases: Case[];
}

export function readGolden<Case>(name: string): Golden<Case> {
  const text = readFileSync(new URL(`golden/${name}.jsonl`, import.meta.url), 'utf8');
  const [head, ...cases] = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return { ...head, cases };
}
