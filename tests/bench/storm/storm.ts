import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Clients and their groups. */
export interface StormJob {
  readonly port: number;
  readonly tokens: readonly string[];
  /** Groups altogether; every client is in {@link StormJob.perClient} of them. */
  readonly groups: number;
  readonly perClient: number;
}

/** Commands to the process with the clients. */
export type StormOrder =
  | { readonly is: 'connect'; readonly job: StormJob }
  /** From now on every client that has no connection makes one here; `cut` ends those there are. */
  | { readonly is: 'drop'; readonly port: number; readonly cut: boolean }
  /** Answered when `share` of the clients are in all their groups again. */
  | { readonly is: 'resumed'; readonly share: number; readonly timeoutMs: number }
  /** Answered when every client has received as many publications of each group. */
  | { readonly is: 'heard'; readonly counts: readonly number[]; readonly timeoutMs: number };

/** Counts since the disconnect. */
export interface StormCounts {
  /** Milliseconds from the drop until half, 99 % and all of the clients were in all their groups again; NaN while not so many are. */
  readonly p50: number;
  readonly p99: number;
  readonly all: number;
  readonly resumed: number;
  /** Publications that a client did not receive though it received a later publication, or not until the end. */
  readonly lost: number;
  readonly duplicates: number;
  /** Subscriptions whose recovery failed. */
  readonly unrecovered: number;
  /** Connections that were refused or broke, and were tried again. */
  readonly retries: number;
}

export type StormAnswer =
  | { readonly is: 'done'; readonly counts: StormCounts }
  | { readonly is: 'failed'; readonly why: string };

/** Clients in a process of their own. */
export interface Storm extends Disposable {
  ask(order: StormOrder): Promise<StormCounts>;
}

/** Starts the process; it connects no client before the first command. */
export const startStorm = (): Storm => {
  const child = fork(fileURLToPath(new URL('./storm-process.ts', import.meta.url)));
  return {
    ask: (order) =>
      new Promise((resolve, reject) => {
        const onExit = () => reject(new Error('the process with the clients has ended'));
        child.once('exit', onExit);
        child.once('message', (answer: StormAnswer) => {
          child.off('exit', onExit);
          if (answer.is === 'done') resolve(answer.counts);
          else reject(new Error(answer.why));
        });
        child.send(order);
      }),
    [Symbol.dispose]: () => void child.kill(),
  };
};
