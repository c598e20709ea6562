import { describe, expect, test } from 'vitest';
import { readOptions, UsageError } from '../../examples/language-model/options.js';

const read = (text: string) => readOptions(text.split(' ').filter(Boolean));

describe('options', () => {
  test('train for two minutes unless asked otherwise', () => {
    expect(read('')).toMatchObject({
      seconds: 120,
      steps: Infinity,
      device: 'cpu',
      dtype: 'float32',
    });
    expect(read('--steps 2')).toMatchObject({ seconds: Infinity, steps: 2 });
    expect(read('--steps 2 --seconds 0.5')).toMatchObject({ seconds: 0.5, steps: 2 });
  });

  test('help is an answer of its own', () => {
    expect(read('--help')).toBe('help');
    expect(read('-h')).toBe('help');
  });

  test.each([
    ['--stesp 2', "Unknown option '--stesp'"],
    ['moby', "Unexpected argument 'moby'"],
    ['--steps two', "--steps: expected an integer from 1 on, got 'two'"],
    ['--steps 0', "--steps: expected an integer from 1 on, got '0'"],
    ['--steps', "'--steps <value>' argument missing"],
    ['--seconds -3', 'argument is ambiguous'],
    ['--seconds=-3', "--seconds: expected a number above 0, got '-3'"],
    ['--dtype float16', "--dtype: expected float32 or bfloat16, got 'float16'"],
    ['--width 30 --heads 4', '--width: expected a multiple of --heads (4), got 30'],
  ])('%s is refused', (text, message) => {
    expect(() => read(text)).toThrow(UsageError);
    expect(() => read(text)).toThrow(message);
  });
});
