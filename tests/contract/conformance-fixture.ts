import type { Bus, BusHandlers } from '@muster/bus/bus';
import type { BusMessage } from '@muster/bus/envelope';
import { afterEach, beforeEach } from 'vitest';

export interface BusUnderTest extends AsyncDisposable {
  /** Another replica. Resolves when its link is up. */
  connect(handlers: BusHandlers): Promise<Bus>;
  /** Cuts all links until {@link restore}. */
  cut(): Promise<void>;
  restore(): Promise<void>;
  /** Loses everything that is kept. */
  flush(): Promise<void>;
}

interface Replica {
  readonly bus: Bus;
  readonly texts: string[];
  readonly received: BusMessage[];
  reconnects(): number;
}

/** Opens an empty bus before each test; `replica` connects to it. */
export const createBusFixture = (open: () => Promise<BusUnderTest>) => {
  let subject: BusUnderTest;
  const replicas: Replica[] = [];
  beforeEach(async () => {
    subject = await open();
  });
  afterEach(async () => {
    for (const { bus } of replicas.splice(0)) await bus[Symbol.asyncDispose]();
    await subject[Symbol.asyncDispose]();
  });
  return {
    subject: () => subject,
    replica: async (): Promise<Replica> => {
      const texts: string[] = [];
      const received: BusMessage[] = [];
      let reconnects = 0;
      const number = replicas.length + 1;
      const bus = await subject.connect({
        onMessage: (name, message) => {
          texts.push(`${name} ${message.body}`);
          received.push(message);
        },
        onReconnected: () => {
          reconnects += 1;
        },
        onQuery: async (question) => `replica ${number}: ${(question as { what: string }).what}`,
      });
      const one: Replica = { bus, texts, received, reconnects: () => reconnects };
      replicas.push(one);
      return one;
    },
  };
};

/** Replicas of the bus under test, ended after each test. */
export type BusFixture = ReturnType<typeof createBusFixture>;
