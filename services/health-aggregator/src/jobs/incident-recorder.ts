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
/** Delay of the other aggregators after the leader, which writes its observations first. */
const FOLLOWER_DELAY_MS = 5_000;

interface IncidentRecorderDeps {
  readonly fleet: FleetState;
  readonly detector: IncidentDetector;
  readonly store: IncidentStore;
  readonly election: Pick<LeaderElection, 'epoch' | 'leader'>;
  /** Number of webhook receivers. */
  readonly channels: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Incidents as this aggregator observes them. Every aggregator observes; the leader writes. Observations without a leader or without
 * Redis are kept in memory and merged into the store afterwards, with the times of the observations.
 */
export class IncidentRecorder {
  readonly #deps: IncidentRecorderDeps;
  #stored: StoredIncidents = { version: '0', items: [] };
  /** Changes since the last synchronisation. */
  #pending: readonly IncidentChange[] = [];
  /** Incidents observed without a leader or without Redis, by id. */
  readonly #unsaved = new Map<string, Incident>();
  /** Epoch in which the open incidents were adopted. */
  #adopted: number | undefined;
  #followingSince: number | undefined;
  #hasNoLeader = false;

  constructor(deps: IncidentRecorderDeps) {
    this.#deps = deps;
  }

  /** Evaluates the present snapshot; call it every second, also without Redis. */
  observe(): void {
    const { detector, fleet, clock } = this.#deps;
    this.#pending = [...this.#pending, ...detector.observe(fleet.snapshot(), clock.now())];
  }

  /** Reads the stored incidents and writes pending changes. Rejects without Redis. */
  async synchronise(): Promise<void> {
    const { election } = this.#deps;
    try {
      await this.#read();
      if (this.#hasNoLeader) this.#keep();
      const leader = election.leader();
      const own = election.epoch();
      if (own === undefined && leader === null) return this.#keepInMemory();
      this.#hasNoLeader = false;
      if (own !== undefined) await this.#lead(own);
      else if (leader !== null) await this.#follow(leader.epoch);
    } catch (error) {
      this.#keepInMemory();
      throw error;
    }
  }

  /** The latest incidents, newest first, from memory: stored and unsaved. */
  incidents(): readonly Incident[] {
    return overlay(this.#stored.items, [...this.#unsaved.values()]);
  }

  /** Ids of incidents that are not stored yet. */
  unsaved(): ReadonlySet<string> {
    return new Set(this.#unsaved.keys());
  }

  /** Writes a note of an operator with the epoch of the leader. `refused` without a leader; rejects without Redis. */
  async note(change: IncidentChange): Promise<WriteOutcome> {
    const { election, store, channels, clock } = this.#deps;
    const epoch = election.leader()?.epoch;
    if (epoch === undefined) return 'refused';
    const outcome = await store.write(epoch, change, channels, clock.now());
    if (outcome === 'written') await this.#read();
    return outcome;
  }

  async #read(): Promise<void> {
    this.#stored = await this.#deps.store.read(KEPT_IN_MEMORY);
  }

  /** Without a leader: observations are kept in memory from now on. */
  #keepInMemory(): void {
    this.#keep();
    this.#followingSince = undefined;
    this.#adopted = undefined;
    this.#hasNoLeader = true;
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
    this.#deps.detector.adopt(openIncidents(this.#stored.items));
  }

  async #lead(epoch: number): Promise<void> {
    const { store, channels, clock } = this.#deps;
    this.#followingSince = undefined;
    if (this.#unsaved.size > 0) {
      this.#keep();
      return this.#merge(epoch);
    }
    if (this.#adopted !== epoch) {
      // Changes pending under another leader are stored by it, or observed again within a second.
      this.#pending = [];
      this.#adopt();
      this.#adopted = epoch;
    }
    for (let change = this.#pending[0]; change !== undefined; change = this.#pending[0]) {
      // A change that cannot be written stays pending; its id and number make the retry idempotent.
      if ((await store.write(epoch, change, channels, clock.now())) !== 'written') return;
      this.#log(change);
      this.#pending = this.#pending.slice(1);
    }
  }

  async #follow(epoch: number): Promise<void> {
    const now = this.#deps.clock.monotonic();
    this.#adopted = undefined;
    this.#followingSince ??= now;
    if (this.#unsaved.size > 0) {
      this.#keep();
      if (now - this.#followingSince >= FOLLOWER_DELAY_MS) await this.#merge(epoch);
      return;
    }
    this.#pending = [];
    this.#adopt();
  }

  /** Merges unsaved incidents into the store; stops at a concurrent write until the next round. */
  async #merge(epoch: number): Promise<void> {
    const { store, channels, clock } = this.#deps;
    for (const incident of [...this.#unsaved.values()]) {
      for (const change of mergeIncident(this.#stored.items, incident)) {
        const { version } = this.#stored;
        const outcome = await store.record(version, epoch, change, channels, clock.now());
        await this.#read();
        if (outcome !== 'written') return;
        this.#log(change);
      }
      if (this.#unsaved.get(incident.id) === incident) this.#unsaved.delete(incident.id);
    }
    this.#adopt();
  }

  #log({ kind, incident: { subject, id } }: IncidentChange): void {
    this.#deps.log.warn({ kind, subject, id }, 'incident.changed');
  }
}

/** Stored incidents, replaced by unsaved incidents of the same id; newest first. */
const overlay = (stored: readonly Incident[], unsaved: readonly Incident[]): readonly Incident[] => {
  if (unsaved.length === 0) return stored;
  const ids = new Set(unsaved.map(({ id }) => id));
  return [...unsaved, ...stored.filter(({ id }) => !ids.has(id))].sort((a, b) => b.openedAt - a.openedAt);
};
