import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** How to become a member of a group at one contestant. */
export interface Dialect {
  /** Path of the upgrade request. */
  readonly path: string;
  /** Text frames to send, each after the server has sent `after`; `GROUP` is replaced by the group. */
  readonly hello: readonly { readonly after: string; readonly send: string }[];
  /** A text that confirms the subscription. */
  readonly welcome: string;
  /** A text frame that publishes; `GROUP`, `PAYLOAD` and `SEQUENCE` are filled in. */
  readonly publish: string;
}

/** Clients and their servers. */
export interface SwarmJob {
  readonly port: number;
  /** Port of the publishers, if they connect to another replica. */
  readonly publishPort?: number;
  readonly dialect: Dialect;
  readonly groups: number;
}

/** Publications and their duration. */
export interface Load {
  /**
   * Publications in flight per group: as many at once, the next batch when all members have received all of them; 0
   * publishes at `rate`.
   */
  readonly inFlight: number;
  /** Publications per second over all groups. */
  readonly rate: number;
  readonly seconds: number;
}

export interface SwarmOutcome {
  readonly published: number;
  readonly delivered: number;
  readonly expected: number;
  /** Publications that a member received twice, or after a later publication. */
  readonly duplicates: number;
  readonly seconds: number;
  /** Milliseconds from the publisher's write to a member's read. */
  readonly p50: number;
  readonly p99: number;
  /** CPU of the load process while it published. */
  readonly ownCpuS: number;
}

/** Commands to the load process. */
export type SwarmOrder =
  | { readonly is: 'job'; readonly job: SwarmJob }
  | { readonly is: 'connect'; readonly membersPerGroup: number }
  | { readonly is: 'run'; readonly load: Load };

/** Replies of the load process, one to each command. */
export type SwarmAnswer =
  | { readonly is: 'done'; readonly outcome?: SwarmOutcome }
  | { readonly is: 'failed'; readonly why: string };

/** A swarm of members in a process of its own. */
export interface Swarm extends Disposable {
  /** Resolves when every group has so many members. */
  connect(membersPerGroup: number): Promise<void>;
  /** Publishes, and resolves with what was delivered. */
  run(load: Load): Promise<SwarmOutcome>;
}

/** Starts a load process. */
export const startSwarm = async (job: SwarmJob): Promise<Swarm> => {
  const child = fork(fileURLToPath(new URL('./swarm-process.ts', import.meta.url)));
  const ask = (order: SwarmOrder): Promise<SwarmOutcome | undefined> =>
    new Promise((resolve, reject) => {
      const onExit = () => reject(new Error('the load process has ended'));
      child.once('exit', onExit);
      child.once('message', (answer: SwarmAnswer) => {
        child.off('exit', onExit);
        if (answer.is === 'done') resolve(answer.outcome);
        else reject(new Error(answer.why));
      });
      child.send(order);
    });
  await ask({ is: 'job', job });
  return {
    connect: async (membersPerGroup) => void (await ask({ is: 'connect', membersPerGroup })),
    run: async (load) => {
      const outcome = await ask({ is: 'run', load });
      if (outcome === undefined) throw new Error('the load process has nothing to tell');
      return outcome;
    },
    [Symbol.dispose]: () => void child.kill(),
  };
};
