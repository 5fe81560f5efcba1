import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { FleetState } from '../core/fleet.ts';
import { mergeIncident } from '../core/incident-merge.ts';
import {
  type Incident,
  type IncidentChange,
  type IncidentDetector,
  openIncidents,
  type WriteOutcome,
} from '../core/incidents.ts';
import type { IncidentStore, StoredIncidents } from '../stores/incident-store.ts';
import type { LeaderElection } from './leader-election.ts';

const KEPT_IN_MEMORY = 100;
/** The leader writes what it saw first; what the others saw beyond that follows after this time. */
const FOLLOWERS_WAIT_MS = 5_000;

/** What the log needs. */
export interface IncidentRecorderDeps {
  readonly fleet: FleetState;
  readonly keeper: IncidentDetector;
  readonly store: IncidentStore;
  readonly leadership: Pick<LeaderElection, 'epoch' | 'leader'>;
  /** How many receivers of webhooks there are. */
  readonly channels: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Incidents as this aggregator knows them. Every aggregator looks; the leader writes. What is seen while nobody leads, or while the
 * store is away, is kept in memory and merged into the store afterwards, with the times at which it was seen.
 */
export class IncidentRecorder {
  readonly #deps: IncidentRecorderDeps;
  #stored: StoredIncidents = { version: '0', items: [] };
  /** Seen since the last synchronisation. */
  #pending: readonly IncidentChange[] = [];
  /** Seen while nobody led or the store was away, by id. */
  readonly #unsaved = new Map<string, Incident>();
  /** The epoch under which the open incidents were taken over. */
  #adopted: number | undefined;
  #ledSince: number | undefined;
  #isAlone = false;

  constructor(deps: IncidentRecorderDeps) {
    this.#deps = deps;
  }

  /** Looks at the fleet; call it each second, whatever the store does. */
  observe(): void {
    const { keeper, fleet, clock } = this.#deps;
    this.#pending = [...this.#pending, ...keeper.observe(fleet.snapshot(), clock.now())];
  }

  /** Reads the store, and writes what is to be written. Rejects when the store is away. */
  async synchronise(): Promise<void> {
    const { leadership } = this.#deps;
    try {
      await this.#read();
      if (this.#isAlone) this.#keep();
      const leader = leadership.leader();
      const mine = leadership.epoch();
      if (mine === undefined && leader === null) return this.#beAlone();
      this.#isAlone = false;
      if (mine !== undefined) await this.#lead(mine);
      else if (leader !== null) await this.#follow(leader.epoch);
    } catch (error) {
      this.#beAlone();
      throw error;
    }
  }

  /** The latest incidents, newest first, from memory: those that are stored, and those that wait for the store. */
  incidents(): readonly Incident[] {
    return overlay(this.#stored.items, [...this.#unsaved.values()]);
  }

  /** Ids of those that wait for the store. */
  unsaved(): ReadonlySet<string> {
    return new Set(this.#unsaved.keys());
  }

  /** Writes what an operator says, in the name of the leader. `refused` when nobody leads; rejects when the store is away. */
  async note(change: IncidentChange): Promise<WriteOutcome> {
    const { leadership, store, channels, clock } = this.#deps;
    const epoch = leadership.leader()?.epoch;
    if (epoch === undefined) return 'refused';
    const outcome = await store.write(epoch, change, channels, clock.now());
    if (outcome === 'written') await this.#read();
    return outcome;
  }

  async #read(): Promise<void> {
    this.#stored = await this.#deps.store.read(KEPT_IN_MEMORY);
  }

  /** Nobody writes: from the first such moment on, what is seen is kept. */
  #beAlone(): void {
    this.#keep();
    this.#ledSince = undefined;
    this.#adopted = undefined;
    this.#isAlone = true;
  }

  #keep(): void {
    for (const { incident } of this.#pending) {
      if (!this.#unsaved.has(incident.id))
        this.#deps.log.warn({ subject: incident.subject }, 'incident.kept_in_memory');
      this.#unsaved.set(incident.id, incident);
    }
    this.#pending = [];
  }

  #adopt(): void {
    this.#deps.keeper.adopt(openIncidents(this.#stored.items));
  }

  async #lead(epoch: number): Promise<void> {
    const { store, channels, clock } = this.#deps;
    this.#ledSince = undefined;
    if (this.#unsaved.size > 0) {
      this.#keep();
      return this.#merge(epoch);
    }
    if (this.#adopted !== epoch) {
      // What was pending under another leader is stored by it, or seen again in a second.
      this.#pending = [];
      this.#adopt();
      this.#adopted = epoch;
    }
    for (let change = this.#pending[0]; change !== undefined; change = this.#pending[0]) {
      // A change that cannot be written stays; its id and number make repeating harmless.
      if ((await store.write(epoch, change, channels, clock.now())) !== 'written') return;
      this.#announce(change);
      this.#pending = this.#pending.slice(1);
    }
  }

  async #follow(epoch: number): Promise<void> {
    const now = this.#deps.clock.monotonic();
    this.#adopted = undefined;
    this.#ledSince ??= now;
    if (this.#unsaved.size > 0) {
      this.#keep();
      if (now - this.#ledSince >= FOLLOWERS_WAIT_MS) await this.#merge(epoch);
      return;
    }
    this.#pending = [];
    this.#adopt();
  }

  /** Merges what was kept in memory into the store; stops where somebody else writes at the same time, until the next round. */
  async #merge(epoch: number): Promise<void> {
    const { store, channels, clock } = this.#deps;
    for (const incident of [...this.#unsaved.values()]) {
      for (const change of mergeIncident(this.#stored.items, incident)) {
        const { version } = this.#stored;
        const outcome = await store.record(version, epoch, change, channels, clock.now());
        await this.#read();
        if (outcome !== 'written') return;
        this.#announce(change);
      }
      if (this.#unsaved.get(incident.id) === incident) this.#unsaved.delete(incident.id);
    }
    this.#adopt();
  }

  #announce({ kind, incident: { subject, id } }: IncidentChange): void {
    this.#deps.log.warn({ kind, subject, id }, 'incident.changed');
  }
}

/** Stored incidents with what memory knows better, newest first. */
const overlay = (stored: readonly Incident[], unsaved: readonly Incident[]): readonly Incident[] => {
  if (unsaved.length === 0) return stored;
  const ids = new Set(unsaved.map(({ id }) => id));
  return [...unsaved, ...stored.filter(({ id }) => !ids.has(id))].sort((a, b) => b.openedAt - a.openedAt);
};
