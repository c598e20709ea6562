import { createRequire } from 'node:module';
import '../../src/native.js';

/** Path of the addon that this process runs on. */
export const loadedAddon = Object.keys(createRequire(import.meta.url).cache).find((path) =>
  path.endsWith('.node'),
) as string;
