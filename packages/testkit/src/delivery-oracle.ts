/** State of a publication for its publisher. */
type PublicationState = 'acknowledged' | 'unknown';

type SubscriberEvent =
  | { readonly is: 'received'; readonly number: number }
  /** `published`: publications of the group that were sent or being sent at that time. */
  | { readonly is: 'resync'; readonly published: number };

/** Event log of one subscriber of one group. */
export interface SubscriberLog {
  /** A publication arrived. */
  received(number: number): void;
  /** The server notified that publications may be missing here. */
  resynced(): void;
}

/** Result of the comparison; publications are `subscriber group#number`. */
export interface DeliveryReport {
  /** Number of acknowledged publications. */
  readonly acknowledged: number;
  /** Number of received publications. */
  readonly deliveries: number;
  /** Acknowledged, not received, without a notification. */
  readonly missing: readonly string[];
  /** Not received, with a notification at the gap. */
  readonly announced: readonly string[];
  /** Not received, with a notification after later publications. */
  readonly announcedLate: readonly string[];
  /** Received more than once. */
  readonly duplicates: readonly string[];
  /** Received after a later publication of the group. */
  readonly misordered: readonly string[];
  /** Received, but never published. */
  readonly unexpected: readonly string[];
}

/** Compares published with received publications. The single publisher of a group numbers them from 0. */
export interface DeliveryOracle {
  /** Numbers the next publication of a group, before it is sent. */
  nextPublication(group: string): number;
  /** Records an acknowledgement. A publication without it may be received or not. */
  acknowledged(group: string, number: number): void;
  /** Adds a subscriber that receives its group from the next publication on. */
  subscriber(name: string, group: string): SubscriberLog;
  /** Number of subscribers with missing publications; announced gaps are not missing. */
  incompleteSubscribers(): number;
  report(): DeliveryReport;
}

interface Subscriber {
  readonly name: string;
  readonly group: string;
  /** First number that it must receive. */
  readonly from: number;
  readonly events: SubscriberEvent[];
}

export const createDeliveryOracle = (): DeliveryOracle => {
  const groups = new Map<string, PublicationState[]>();
  const subscribers: Subscriber[] = [];
  const statesOf = (group: string): PublicationState[] => {
    const states = groups.get(group) ?? [];
    groups.set(group, states);
    return states;
  };
  const gapsOf = (subscriber: Subscriber) => classifyGaps(subscriber, statesOf(subscriber.group));
  const listOf = (numbersIn: (subscriber: Subscriber) => readonly number[]): string[] =>
    subscribers.flatMap((each) => numbersIn(each).map((number) => `${each.name} ${each.group}#${number}`));

  return {
    nextPublication: (group) => statesOf(group).push('unknown') - 1,
    acknowledged: (group, number) => {
      const states = statesOf(group);
      if (states[number] === undefined) throw new Error(`${group}#${number} was never published`);
      states[number] = 'acknowledged';
    },
    subscriber: (name, group) => {
      const events: SubscriberEvent[] = [];
      subscribers.push({ name, group, from: statesOf(group).length, events });
      return {
        received: (number) => void events.push({ is: 'received', number }),
        resynced: () => void events.push({ is: 'resync', published: statesOf(group).length }),
      };
    },
    incompleteSubscribers: () => subscribers.filter((subscriber) => gapsOf(subscriber).missing.length > 0).length,
    report: () => ({
      acknowledged: [...groups.values()].flat().filter((state) => state === 'acknowledged').length,
      deliveries: subscribers.reduce((sum, { events }) => sum + numbersOf(events).length, 0),
      missing: listOf((subscriber) => gapsOf(subscriber).missing),
      announced: listOf((subscriber) => gapsOf(subscriber).announced),
      announcedLate: listOf((subscriber) => gapsOf(subscriber).announcedLate),
      duplicates: listOf(({ events }) => duplicatesIn(numbersOf(events))),
      misordered: listOf(({ events }) => outOfOrderIn(numbersOf(events))),
      unexpected: listOf(({ group, events }) =>
        numbersOf(events).filter((number) => statesOf(group)[number] === undefined),
      ),
    }),
  };
};

/** Acknowledged publications that a subscriber did not receive, by notification. */
const classifyGaps = ({ from, events }: Subscriber, states: readonly PublicationState[]) => {
  const received = new Set(numbersOf(events));
  const expected = states.flatMap((state, number) =>
    state === 'acknowledged' && number >= from && !received.has(number) ? [number] : [],
  );
  const spans = announcedRanges(events, from);
  const isAnnounced = (number: number) => spans.some(([after, before]) => number > after && number < before);
  const notifiedBelow = Math.max(-1, ...spans.map(([, before]) => before));
  const unannounced = expected.filter((number) => !isAnnounced(number));
  return {
    missing: unannounced.filter((number) => number >= notifiedBelow),
    announced: expected.filter(isAnnounced),
    announcedLate: unannounced.filter((number) => number < notifiedBelow),
  };
};

/** Ranges of the resyncs: up to the next received number or, at the end, up to the published count. */
const announcedRanges = (events: readonly SubscriberEvent[], from: number): [after: number, before: number][] =>
  events.flatMap((event, index) => {
    if (event.is !== 'resync') return [];
    const before = numbersOf(events.slice(0, index));
    const next = events.slice(index + 1).find((later) => later.is === 'received');
    const after = before.length === 0 ? from - 1 : Math.max(...before);
    return [[after, next?.is === 'received' ? next.number : event.published]];
  });

const numbersOf = (events: readonly SubscriberEvent[]): number[] =>
  events.flatMap((event) => (event.is === 'received' ? [event.number] : []));

const duplicatesIn = (numbers: readonly number[]): number[] => {
  const known = new Set<number>();
  return numbers.filter((number) => known.size === known.add(number).size);
};

/** Numbers received after a greater number; a repetition is a duplicate, not out of order. */
const outOfOrderIn = (numbers: readonly number[]): number[] => {
  let highest = -1;
  const known = new Set<number>();
  return numbers.filter((number) => {
    const isLate = number < highest && !known.has(number);
    known.add(number);
    highest = Math.max(highest, number);
    return isLate;
  });
};
