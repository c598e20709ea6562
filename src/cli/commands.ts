// The commands of npx surprisal, and what a command line that is wrong is told.
import { nearest } from '../expect.js';
import { build, buildHelp } from './build.js';
import { doctor, doctorHelp, packageVersion } from './doctor.js';
import { UsageError } from './options.js';

interface Command {
  /** Gives the status to end with. */
  run(args: readonly string[]): Promise<number>;
  help: string;
}

const commands: Readonly<Record<string, Command>> = {
  doctor: { run: doctor, help: doctorHelp },
  build: { run: build, help: buildHelp },
  bench: {
    // Loads the addon, which the other commands are there to mend.
    run: async (args) => (await import('./bench.js')).bench(args),
    help: `surprisal bench [case ...] [--device cpu|cuda] [--dtype float32] [--threads n] [--seconds n] [--json]
  Times the main operations on this machine: forward, and forward with gradients.`,
  },
};

export const commandNames: readonly string[] = Object.keys(commands);

const usage = `npx surprisal <command> [options]
npx surprisal --version

${Object.values(commands)
  .map(({ help }) => help)
  .join('\n\n')}`;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function expectNoMore(name: string, rest: readonly string[]): void {
  if (rest.length > 0) throw new UsageError(`${name}: expected no words, got '${rest[0]}'`);
}

async function dispatched(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    say(usage);
    return name === undefined ? 2 : 0;
  }
  if (name === 'version' || name === '--version' || name === '-v') {
    expectNoMore(name, rest);
    say(packageVersion());
    return 0;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!command) {
    const meant = nearest(name, commandNames);
    throw new UsageError(
      `expected a command among ${commandNames.join(', ')}, got '${name}'` +
        (meant ? ` (did you mean '${meant}'?)` : ''),
    );
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    say(command.help);
    return 0;
  }
  return command.run(rest);
}

/** Runs a command line; gives the status to end with: 1 where it failed, 2 where it was asked wrongly. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    return await dispatched(args);
  } catch (error) {
    const { message, code, stack } = error as Error & { code?: string };
    const isUsage = error instanceof UsageError;
    // An error with a code says all that there is to say; any other is a fault of this program.
    process.stderr.write(`surprisal: ${isUsage || code ? message : stack}\n`);
    if (isUsage) process.stderr.write('npx surprisal --help lists commands and options\n');
    return isUsage ? 2 : 1;
  }
}
