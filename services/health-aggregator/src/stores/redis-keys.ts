/** Redis keys of the aggregators, with the hash tag of the registry: all keys of a fleet are in one cluster slot. */
export const aggregatorKeys = (prefix: string, fleet: string) => {
  const base = `${prefix}fleet:{${fleet}}:`;
  return {
    leader: `${base}leader`,
    epoch: `${base}epoch`,
    /** Plan of the present round of a rebalance. */
    rebalanceRound: `${base}rebalance-round`,
    incidents: `${base}incidents`,
    incidentIndex: `${base}incidents:index`,
    incidentVersion: `${base}incidents:version`,
    syntheticCheck: `${base}journey`,
    webhookQueue: `${base}outbox`,
    webhooksDue: `${base}outbox:due`,
    selfRemovals: (service: string) => `${base}selfout:${service}`,
    /** How far uptime history is written, ms since the epoch. */
    daysUntil: `${base}days-until`,
    /** Earlier ranges that the writer did not observe. */
    dayGaps: `${base}day-gaps`,
    days: (service: string) => `${base}days:${service}`,
  };
};

/** Redis keys of one fleet. */
export type AggregatorKeys = ReturnType<typeof aggregatorKeys>;
