import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** How to become a member of a group at one contestant. */
export interface Dialect {
  /** Path of the upgrade request. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Text frames to send, each when the server has said `after`; `GROUP` stands for the group. */
  readonly hello: readonly { readonly after: string; readonly send: string }[];
  /** A text that says that the connection is in its group. */
  readonly welcome: string;
  /** A text frame that publishes; `GROUP` and `PAYLOAD` are filled in. */
  readonly publish: string;
}

/** What a load process is to do. */
export interface SwarmJob {
  readonly port: number;
  readonly dialect: Dialect;
  readonly groups: number;
  readonly membersPerGroup: number;
  /** Publications per second over all groups; 0 keeps one in flight per group: the next one when all members have the last. */
  readonly rate: number;
  readonly seconds: number;
}

/** What came of it. */
export interface SwarmOutcome {
  readonly published: number;
  readonly delivered: number;
  readonly expected: number;
  readonly seconds: number;
  readonly p50: number;
  readonly p99: number;
  readonly ownCpuS: number;
}

/** A swarm of members in a process of its own: connected first, then measured. */
export interface Swarm {
  /** Resolves when all are in their groups. */
  readonly ready: Promise<void>;
  /** Starts publishing, and resolves with what was delivered. */
  run(): Promise<SwarmOutcome>;
  stop(): void;
}

/** Starts a load process. It connects at once. */
export const startSwarm = (job: SwarmJob): Swarm => {
  const child = fork(fileURLToPath(new URL('./swarm-process.ts', import.meta.url)));
  child.send(job);
  const messages = async <T>(): Promise<T> => ((await once(child, 'message')) as [T])[0];
  return {
    ready: messages<unknown>().then(() => {}),
    run: () => {
      child.send('go');
      return messages<SwarmOutcome>();
    },
    stop: () => void child.kill(),
  };
};
