/** Attacks of one hostile client; each is an entry of `attacker.ts`. */
export const ATTACKS = [
  'new groups',
  'subscriptions',
  'presence',
  'big frames',
  'large histories',
  'one history in a loop',
  'recoveries in a loop',
  'idle sockets',
  'guest logins',
  'stale secrets',
  'wrong keys',
] as const;
export type Attack = (typeof ATTACKS)[number];
