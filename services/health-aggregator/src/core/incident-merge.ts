import type { Incident, IncidentChange } from './incidents.ts';

/** Observers notice a fault at slightly different times, ms. */
const TOLERANCE_MS = 2_000;

/**
 * The changes that add an incident from the memory of an observer to the stored incidents. None when it is stored already: under
 * the same id with the same or later changes, or as an incident of the same subject at the same time by another observer.
 */
export const mergeIncident = (stored: readonly Incident[], seen: Incident): readonly IncidentChange[] => {
  const same = stored.find(({ id }) => id === seen.id);
  if (same !== undefined) {
    return same.seq >= seen.seq ? [] : [{ kind: seen.closedAt === undefined ? 'updated' : 'closed', incident: seen }];
  }
  const other = stored.find((one) => one.isNote !== true && one.subject === seen.subject && overlap(one, seen));
  if (other === undefined) return openingChanges(seen);
  if (seen.openedAt >= other.openedAt - TOLERANCE_MS) return [];
  // This observer saw an earlier start: its updates from before are added.
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

/** Receivers are notified of the opening also when the incident is closed already. */
const openingChanges = (seen: Incident): IncidentChange[] => {
  if (seen.closedAt === undefined) return [{ kind: 'opened', incident: seen }];
  const { closedAt: _end, ...open } = seen;
  const opened: Incident = { ...open, seq: Math.max(1, seen.seq - 1), updates: seen.updates.slice(0, -1) };
  return [
    { kind: 'opened', incident: opened },
    { kind: 'closed', incident: seen },
  ];
};

const overlap = (one: Incident, other: Incident): boolean =>
  one.openedAt <= (other.closedAt ?? Number.POSITIVE_INFINITY) + TOLERANCE_MS &&
  other.openedAt <= (one.closedAt ?? Number.POSITIVE_INFINITY) + TOLERANCE_MS;
