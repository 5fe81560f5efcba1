import type { Incident, IncidentChange } from './incidents.ts';

/** Observers notice the same a little earlier or later, ms. */
const TOLERANCE_MS = 2_000;

/**
 * The changes by which stored incidents learn of one that an observer kept in memory. Nothing when they know it: the same
 * id with the same or later changes, or one of the same subject at the same time, which another observer has written.
 */
export const mergeIncident = (stored: readonly Incident[], seen: Incident): readonly IncidentChange[] => {
  const same = stored.find(({ id }) => id === seen.id);
  if (same !== undefined) {
    return same.seq >= seen.seq
      ? []
      : [{ kind: seen.closedAt === undefined ? 'updated' : 'closed', incident: seen }];
  }
  const other = stored.find(
    (one) => one.isNote !== true && one.subject === seen.subject && overlap(one, seen),
  );
  if (other === undefined) return opening(seen);
  const begins = seen.openedAt < other.openedAt - TOLERANCE_MS;
  if (!begins) return [];
  // The other observer looked later: what this one saw of the beginning is added.
  const { isStartUnknown: _unknown, ...known } = other;
  const incident: Incident = {
    ...known,
    ...(seen.isStartUnknown ? { isStartUnknown: true } : {}),
    openedAt: seen.openedAt,
    seq: other.seq + 1,
    updates: [...seen.updates.filter(({ at }) => at < other.openedAt), ...other.updates],
  };
  return [{ kind: incident.closedAt === undefined ? 'updated' : 'closed', incident }];
};

/** Receivers hear that it began also when it is over already. */
const opening = (seen: Incident): IncidentChange[] => {
  if (seen.closedAt === undefined) return [{ kind: 'opened', incident: seen }];
  const { closedAt: _end, ...open } = seen;
  const begun: Incident = { ...open, seq: Math.max(1, seen.seq - 1), updates: seen.updates.slice(0, -1) };
  return [
    { kind: 'opened', incident: begun },
    { kind: 'closed', incident: seen },
  ];
};

const overlap = (one: Incident, other: Incident): boolean =>
  one.openedAt <= (other.closedAt ?? Number.POSITIVE_INFINITY) + TOLERANCE_MS &&
  other.openedAt <= (one.closedAt ?? Number.POSITIVE_INFINITY) + TOLERANCE_MS;
