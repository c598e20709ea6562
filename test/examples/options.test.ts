import { describe, expect, test } from 'vitest';
import { UsageError } from '../../examples/command-line.js';
import {
  completeSettings,
  defaults,
  readOptions,
  resumedSettings,
} from '../../examples/language-model/options.js';

const read = (text: string) => readOptions(text.split(' ').filter(Boolean));

describe('options', () => {
  test('train for two minutes unless asked otherwise', () => {
    expect(read('')).toMatchObject({
      seconds: 120,
      steps: Infinity,
      device: 'cpu',
      settings: {},
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
    ['--out no/such/r.html', "--out: expected a file in an existing folder, got 'no/such/r.html'"],
    ['--save no/such/a.st', "--save: expected a file in an existing folder, got 'no/such/a.st'"],
  ])('%s is refused', (text, message) => {
    expect(() => read(text)).toThrow(UsageError);
    expect(() => read(text)).toThrow(message);
  });

  test('settings are the defaults but for what was asked', () => {
    const options = read('--width 32 --learning-rate 1e-4 --seed 0');
    if (options === 'help') throw new Error('not help');
    const { settings } = options;
    expect(settings).toEqual({ width: 32, learningRate: 1e-4, seed: 0 });
    expect(completeSettings(settings)).toEqual({ ...defaults, ...settings });
    expect(() => completeSettings({ width: 30, heads: 4 })).toThrow(
      '--width: expected a multiple of --heads (4), got 30',
    );
  });

  test('a resumed run keeps the settings of its checkpoint', () => {
    const checkpoint = { ...defaults, width: 32 };
    expect(resumedSettings({}, checkpoint)).toEqual(checkpoint);
    expect(resumedSettings({ width: 32 }, checkpoint)).toEqual(checkpoint);
    expect(() => resumedSettings({ learningRate: 1 }, checkpoint)).toThrow(
      `--learning-rate: the checkpoint was made with ${defaults.learningRate}, got 1`,
    );
  });
});
