/** Keys of the aggregators beside the registry; the same hash tag, so all of a fleet is in one slot of a cluster. */
export const aggregatorKeys = (prefix: string, fleet: string) => {
  const base = `${prefix}fleet:{${fleet}}:`;
  return {
    leader: `${base}leader`,
    epoch: `${base}epoch`,
    incidents: `${base}incidents`,
    incidentIndex: `${base}incidents:index`,
    incidentVersion: `${base}incidents:version`,
    syntheticCheck: `${base}journey`,
    outbox: `${base}outbox`,
    outboxDue: `${base}outbox:due`,
    selfRemovals: (service: string) => `${base}selfout:${service}`,
    /** Until when history is written, ms since epoch. */
    daysUntil: `${base}days-until`,
    /** Times before that in which the writer did not look; others may have. */
    dayGaps: `${base}day-gaps`,
    days: (service: string) => `${base}days:${service}`,
  };
};

/** Names of keys of one fleet. */
export type AggregatorKeys = ReturnType<typeof aggregatorKeys>;
