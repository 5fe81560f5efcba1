import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** How to become a member of a group at one contestant. */
export interface Dialect {
  /** Path of the upgrade request. */
  readonly path: string;
  /** Text frames to send, each when the server has said `after`; `GROUP` stands for the group. */
  readonly hello: readonly { readonly after: string; readonly send: string }[];
  /** A text that says that the connection is in its group. */
  readonly welcome: string;
  /** A text frame that publishes; `GROUP`, `PAYLOAD` and `SEQUENCE` are filled in. */
  readonly publish: string;
}

/** Who is connected where. */
export interface SwarmJob {
  readonly port: number;
  /** Where publishers connect when they are no members of `port`: another replica. */
  readonly publishPort?: number;
  readonly dialect: Dialect;
  readonly groups: number;
}

/** What is published, for how long. */
export interface Load {
  /** Publications under way per group: so many at once, the next ones when all members have all of them; 0 publishes at `rate`. */
  readonly inFlight: number;
  /** Publications per second over all groups. */
  readonly rate: number;
  readonly seconds: number;
}

/** What came of it. */
export interface SwarmOutcome {
  readonly published: number;
  readonly delivered: number;
  readonly expected: number;
  /** Publications that some member heard again, or after a later one. */
  readonly duplicates: number;
  readonly seconds: number;
  /** Milliseconds from the publisher's write to a member's read. */
  readonly p50: number;
  readonly p99: number;
  /** CPU of the load process while it published. */
  readonly ownCpuS: number;
}

/** What the load process is told. */
export type SwarmOrder =
  | { readonly is: 'job'; readonly job: SwarmJob }
  | { readonly is: 'connect'; readonly membersPerGroup: number }
  | { readonly is: 'run'; readonly load: Load };

/** What it answers: one word to each order. */
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
