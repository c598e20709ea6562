// Writes what each comparison found to the file SURPRISAL_TEST_ERRORS, one line of JSON each: the
// GPU suite (scripts/gpu.mjs) saves the largest of every test.
import { appendFileSync } from 'node:fs';
import { expect } from 'vitest';

const file = process.env.SURPRISAL_TEST_ERRORS;
export const isRecording = file !== undefined;

/** An error and what of it was allowed, in the same unit. */
export function recordError(what: string, error: number, allowed: number): void {
  if (!file) return;
  const { currentTestName: test, testPath } = expect.getState();
  const ofAllowed = error === 0 ? 0 : error / allowed;
  const from = testPath?.replace(/^.*\/test\//, 'test/');
  appendFileSync(file, `${JSON.stringify({ file: from, test, what, error, ofAllowed })}\n`);
}
