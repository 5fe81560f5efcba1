import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '@muster/testkit/wait';
import { positionOf, type Runnable, showsLines } from './blocks.ts';

const BLOCK_TIMEOUT_MS = 120_000;
const END_TIMEOUT_MS = 20_000;
/** An error response fails the block, and each call has a timeout. */
const PRELUDE = `set -euo pipefail
curl() { command curl --fail-with-body --max-time 30 "$@"; }
export -f curl
`;

const QUICK = `npx() { local name=$1; shift; "node_modules/.bin/$name" "$@"; }
`;

/** Options of the shell of a document. */
export interface ShellOptions {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** Directory for code and output of the blocks. */
  readonly scratch: string;
  /** Texts of the documents → texts of this run, such as addresses. */
  readonly replacements: ReadonlyMap<string, string>;
  readonly blockTimeoutMs?: number;
  /** Runs commands of `npx` without npm, whose start takes longer than most commands. */
  readonly isQuick?: boolean;
}

/** One bash process that runs the blocks of a document in sequence. */
export interface DocumentShell extends AsyncDisposable {
  /** Rejects with document and line when the block fails, exceeds its timeout, or has another output. */
  run(block: Runnable): Promise<string>;
  /** Output of a background block so far. */
  outputOf(block: Runnable): string;
}

export const openShell = (options: ShellOptions): DocumentShell => {
  const { cwd, env, scratch, replacements, blockTimeoutMs = BLOCK_TIMEOUT_MS } = options;
  mkdirSync(scratch, { recursive: true });
  // Its own process group, which is killed with the processes that the blocks left running.
  const child = spawn('bash', ['--noprofile', '--norc'], { cwd, env, detached: true });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  let output = '';
  let isOver = false;
  void exited.then(() => {
    isOver = true;
  });
  child.stdin.on('error', () => undefined);
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString('utf8');
    });
  }
  child.stdin.write(PRELUDE + (options.isQuick === true ? QUICK : ''));

  const fileOf = (block: Runnable, kind: 'sh' | 'out'): string =>
    join(scratch, `${block.document.replaceAll('/', '_')}-${block.line}.${kind}`);
  const outputOf = (block: Runnable): string => {
    try {
      return readFileSync(fileOf(block, 'out'), 'utf8');
    } catch {
      return '';
    }
  };
  const fail = (block: Runnable, why: string, shown: string): Error =>
    new Error(`${positionOf(block)}: ${why}\n${block.code}── it wrote:\n${shown}`);

  const run = async (block: Runnable): Promise<string> => {
    const inThisRun = (text: string) =>
      [...replacements].reduce((changed, [from, to]) => changed.replaceAll(from, to), text);
    const expected = block.output.map(inThisRun);
    writeFileSync(fileOf(block, 'sh'), inThisRun(block.code));

    const end = `end-of-block-${randomUUID()}`;
    const from = output.length;
    if (block.isBackground) {
      child.stdin.write(`source '${fileOf(block, 'sh')}' </dev/null >'${fileOf(block, 'out')}' 2>&1 &\n`);
    } else child.stdin.write(`source '${fileOf(block, 'sh')}' </dev/null\n`);
    child.stdin.write(`echo; echo ${end}\n`);
    const shown = () => (block.isBackground ? outputOf(block) : (output.slice(from).split(end)[0] ?? ''));
    const isDone = () => output.includes(end, from) && (!block.isBackground || showsLines(outputOf(block), expected));
    const wait = until(async () => isOver || isDone(), {
      ok: (done) => done,
      what: 'the end of a block',
      timeoutMs: blockTimeoutMs,
      intervalMs: 20,
    });
    await wait.catch(() => {
      throw fail(block, `not done after ${blockTimeoutMs} ms`, shown());
    });
    if (!isDone()) throw fail(block, `failed with exit code ${child.exitCode}`, shown());
    if (!showsLines(shown(), expected)) {
      throw fail(block, `expected the output\n${expected.join('\n')}\n`, shown());
    }
    return shown();
  };

  return {
    run,
    outputOf,
    [Symbol.asyncDispose]: async () => {
      child.stdin.end();
      if (child.pid !== undefined) await endGroup(child.pid, exited);
    },
  };
};

/** Runs blocks in one shell, in order; resolves with the output of each at the end of the last block. */
export const runBlocks = async (
  blocks: readonly Runnable[],
  options: ShellOptions,
): Promise<ReadonlyMap<Runnable, string>> => {
  await using shell = openShell(options);
  const written = new Map<Runnable, string>();
  for (const block of blocks) written.set(block, await shell.run(block));
  for (const block of blocks.filter(({ isBackground }) => isBackground)) written.set(block, shell.outputOf(block));
  return written;
};

/** Sends SIGTERM to the remaining processes, then SIGKILL to those that have not ended. */
const endGroup = async (pid: number, exited: Promise<void>): Promise<void> => {
  const signal = (name: 'SIGTERM' | 'SIGKILL' | 0): boolean => {
    try {
      return process.kill(-pid, name);
    } catch {
      return false;
    }
  };
  signal('SIGTERM');
  const gone = until(async () => !signal(0), {
    ok: (isGone) => isGone,
    what: 'the end of the blocks',
    timeoutMs: END_TIMEOUT_MS,
    intervalMs: 20,
  });
  await gone.catch(() => signal('SIGKILL'));
  await exited;
};
