// PyTorch in a child process, driven by one JSON line a command (bench/peers/torch_peer.py, and
// torch_cuda.py for devices).
// The interpreter is SURPRISAL_BENCH_PYTHON, else python3. Without it, or without torch in it,
// the bench says so and runs alone.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { root } from './sources.js';
import type { Contender } from './timing.js';

type Reply = Record<string, unknown>;

export class Peer {
  private constructor(
    private readonly child: ChildProcess,
    private readonly lines: Interface,
    /** Rejects, and never resolves, when the process ends. */
    private readonly ended: Promise<never>,
    readonly version: string,
    readonly isa: string,
  ) {}

  /** The peer, with environment variables of its own, or the reason why there is none. */
  static async start(
    threads: number,
    env: NodeJS.ProcessEnv = {},
    program = 'torch_peer.py',
  ): Promise<Peer | string> {
    const python = process.env.SURPRISAL_BENCH_PYTHON || 'python3';
    const child = spawn(python, [join(root, 'bench/peers', program)], {
      env: { ...process.env, ...env },
    });
    let complaint = '';
    child.stderr.on('data', (chunk) => {
      complaint += chunk;
    });
    child.stdin.on('error', () => {}); // `ended` reports it
    const ended = new Promise<never>((_, reject) => {
      child.once('error', () => reject(new Error(`${python} was not found`)));
      child.once('close', () =>
        reject(new Error(complaint.trim().split('\n').at(-1) || 'it ended')),
      );
    });
    ended.catch(() => {});
    const lines = createInterface({ input: child.stdout });
    const peer = new Peer(child, lines, ended, '', '');
    try {
      const { torch, isa } = await peer.ask<Record<string, string>>({ cmd: 'hello', threads });
      return new Peer(child, lines, ended, `torch ${torch}`, isa);
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** Sends one command and gives its reply; commands must not overlap. */
  async ask<R extends Reply>(command: Record<string, unknown>): Promise<R> {
    const reply = once(this.lines, 'line');
    this.child.stdin?.write(`${JSON.stringify(command)}\n`);
    const [line] = await Promise.race([reply, this.ended]);
    const value = JSON.parse(line) as R & { error?: string };
    if (value.error) throw new Error(`PyTorch: ${value.error}`);
    return value;
  }

  async setThreads(threads: number) {
    await this.ask({ cmd: 'threads', threads });
  }

  async setup(kind: string, args: Record<string, unknown>): Promise<PeerCase> {
    const id = `${kind} ${JSON.stringify(args)}`;
    const { ways } = await this.ask<{ ways: string[] }>({ cmd: 'setup', id, kind, args });
    return new PeerCase(this, id, ways);
  }

  stop() {
    this.child.stdin?.end();
  }
}

/** One case that lives in the peer's process: its inputs and the ways it can be computed. */
export class PeerCase {
  constructor(
    private readonly peer: Peer,
    private readonly id: string,
    /** What this PyTorch can do. */
    readonly ways: string[],
  ) {}

  contender(way: string, name: string, once = false): Contender {
    return { name, once, run: (set) => this.run(way, set) };
  }

  private async run(way: string, set: number): Promise<number> {
    return (await this.peer.ask<{ ms: number }>({ cmd: 'run', id: this.id, way, set })).ms;
  }

  /** Finds PyTorch's fastest chunking for this case and keeps it. */
  async tune(): Promise<string> {
    return (await this.peer.ask<{ options: string }>({ cmd: 'tune', id: this.id })).options;
  }

  /** Takes the chunking that `tune` found in another process. */
  async use(options: string) {
    await this.peer.ask({ cmd: 'use', id: this.id, options });
  }

  async memory(way: string): Promise<number | undefined> {
    const reply = await this.peer.ask<{ bytes: number | null }>({
      cmd: 'memory',
      id: this.id,
      way,
    });
    return reply.bytes ?? undefined;
  }

  /** Errors of gradients against float64: of `files` (float32, raw) and of PyTorch's own `way`. */
  errors(request: {
    way?: string;
    files?: { dx: string; dweight: string };
  }): Promise<Record<'dx' | 'dweight' | 'peerDx' | 'peerDweight', number>> {
    return this.peer.ask({ cmd: 'errors', id: this.id, ...request });
  }

  async drop() {
    await this.peer.ask({ cmd: 'drop', id: this.id });
  }
}
