/** What a publisher knows of one publication: its group took it, or nobody can say. */
type PublicationState = 'acknowledged' | 'unknown';

/** What a subscriber saw, in order. */
type SubscriberEvent =
  | { readonly is: 'heard'; readonly number: number }
  /** `published` publications of the group had been sent or were being sent by then. */
  | { readonly is: 'resync'; readonly published: number };

/** One subscriber's own log of one group. */
export interface SubscriberLog {
  /** A publication arrived. */
  received(number: number): void;
  /** The server said that publications may be missing here: the application must begin anew. */
  resynced(): void;
}

/** A publication that did not reach a subscriber as it should have, as `subscriber group#number`. */
export interface DeliveryReport {
  /** Publications that were acknowledged. */
  readonly acknowledged: number;
  /** Arrivals at subscribers. */
  readonly deliveries: number;
  /** Acknowledged, never arrived, and nobody said so. */
  readonly missing: readonly string[];
  /** Never arrived, and the subscriber was told that something is missing at that place. */
  readonly announced: readonly string[];
  /** Never arrived, and the subscriber was told so only after it had heard later ones. */
  readonly announcedLate: readonly string[];
  /** Arrived more than once. */
  readonly duplicates: readonly string[];
  /** Arrived behind a later one of its group. */
  readonly misordered: readonly string[];
  /** Arrived although nobody published it. */
  readonly unexpected: readonly string[];
}

/** Compares what was published with what arrived. Publications of a group are numbered from 0 by its one publisher. */
export interface DeliveryOracle {
  /** Numbers the next publication of a group, before it is sent. */
  nextPublication(group: string): number;
  /** The group took it. What is never acknowledged may arrive, or not. */
  acknowledged(group: string, number: number): void;
  /** A subscriber that hears its group from the next publication on. */
  subscriber(name: string, group: string): SubscriberLog;
  /** How many subscribers have not got every acknowledged publication, counting announced holes as got. */
  incompleteSubscribers(): number;
  report(): DeliveryReport;
}

interface Subscriber {
  readonly name: string;
  readonly group: string;
  /** The first number it must hear. */
  readonly from: number;
  readonly events: SubscriberEvent[];
}

export const createDeliveryOracle = (): DeliveryOracle => {
  const groups = new Map<string, PublicationState[]>();
  const subscribers: Subscriber[] = [];
  const fatesOf = (group: string): PublicationState[] => {
    const known = groups.get(group) ?? [];
    groups.set(group, known);
    return known;
  };
  const holesOf = (one: Subscriber) => classifyGaps(one, fatesOf(one.group));

  return {
    nextPublication: (group) => fatesOf(group).push('unknown') - 1,
    acknowledged: (group, number) => {
      const fates = fatesOf(group);
      if (fates[number] === undefined) throw new Error(`${group}#${number} was never published`);
      fates[number] = 'acknowledged';
    },
    subscriber: (name, group) => {
      const seen: SubscriberEvent[] = [];
      subscribers.push({ name, group, from: fatesOf(group).length, events: seen });
      return {
        received: (number) => void seen.push({ is: 'heard', number }),
        resynced: () => void seen.push({ is: 'resync', published: fatesOf(group).length }),
      };
    },
    incompleteSubscribers: () => subscribers.filter((one) => holesOf(one).missing.length > 0).length,
    report: () => ({
      acknowledged: [...groups.values()].flat().filter((fate) => fate === 'acknowledged').length,
      deliveries: subscribers.reduce((sum, { events: seen }) => sum + numbersOf(seen).length, 0),
      missing: subscribers.flatMap((one) => labelled(one, holesOf(one).missing)),
      announced: subscribers.flatMap((one) => labelled(one, holesOf(one).announced)),
      announcedLate: subscribers.flatMap((one) => labelled(one, holesOf(one).announcedLate)),
      duplicates: subscribers.flatMap((one) => labelled(one, duplicatesIn(numbersOf(one.events)))),
      misordered: subscribers.flatMap((one) => labelled(one, outOfOrderIn(numbersOf(one.events)))),
      unexpected: subscribers.flatMap((one) =>
        labelled(
          one,
          numbersOf(one.events).filter((number) => fatesOf(one.group)[number] === undefined),
        ),
      ),
    }),
  };
};

/** Acknowledged publications that a subscriber has not got: silently missing, announced at their place, or later. */
const classifyGaps = ({ from, events: seen }: Subscriber, fates: readonly PublicationState[]) => {
  const got = new Set(numbersOf(seen));
  const expected = fates.flatMap((fate, number) =>
    fate === 'acknowledged' && number >= from && !got.has(number) ? [number] : [],
  );
  const spans = announcedRanges(seen, from);
  const isAnnounced = (number: number) => spans.some(([after, before]) => number > after && number < before);
  const toldBelow = Math.max(-1, ...spans.map(([, before]) => before));
  const silent = expected.filter((number) => !isAnnounced(number));
  return {
    missing: silent.filter((number) => number >= toldBelow),
    announced: expected.filter(isAnnounced),
    announcedLate: silent.filter((number) => number < toldBelow),
  };
};

/** Between which numbers a resync lies: up to what was heard next, and at the end up to what had been published by then. */
const announcedRanges = (seen: readonly SubscriberEvent[], from: number): [after: number, before: number][] =>
  seen.flatMap((one, at) => {
    if (one.is !== 'resync') return [];
    const before = numbersOf(seen.slice(0, at));
    const next = seen.slice(at + 1).find((later) => later.is === 'heard');
    const after = before.length === 0 ? from - 1 : Math.max(...before);
    return [[after, next?.is === 'heard' ? next.number : one.published]];
  });

const numbersOf = (seen: readonly SubscriberEvent[]): number[] =>
  seen.flatMap((one) => (one.is === 'heard' ? [one.number] : []));

const duplicatesIn = (numbers: readonly number[]): number[] => {
  const known = new Set<number>();
  return numbers.filter((number) => known.size === known.add(number).size);
};

/** Numbers that came behind a greater one; a repetition is not late, but a duplicate. */
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

const labelled = ({ name, group }: Subscriber, numbers: readonly number[]): string[] =>
  numbers.map((number) => `${name} ${group}#${number}`);
