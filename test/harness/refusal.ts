// Errors as the contract words them: `<op>: expected ..., got ...`, with a stable code.
import { expect } from 'vitest';
import { throughDevice } from './device.js';

export interface Failure extends Error {
  code: string;
}

export function failureOf(call: () => unknown): Failure {
  try {
    throughDevice(call);
  } catch (error) {
    return error as Failure;
  }
  throw new Error('expected an error, got none');
}

/** The call fails in the name of the op, with this code and these words. */
export function refuser(op: string) {
  return (call: () => unknown, code: string, ...words: (string | RegExp)[]): Failure => {
    const failure = failureOf(call);
    expect(failure.code, failure.message).toBe(code);
    expect(failure.message.startsWith(`${op}: `), failure.message).toBe(true);
    for (const word of words) expect(failure.message).toMatch(word);
    return failure;
  };
}
