/** The lifetimes of a kind of session, in seconds. */
interface Policy {
  /** Idle limit; 0 for none. */
  readonly idleSeconds: number;
  /** Absolute limit. */
  readonly maxSeconds: number;
}

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

/** The policies by name. */
export const POLICIES = {
  /** With "remember me". */
  standard: { idleSeconds: 14 * DAY, maxSeconds: 30 * DAY },
  /** Without "remember me": the cookie ends with the browser. */
  session: { idleSeconds: 12 * HOUR, maxSeconds: 24 * HOUR },
  aal2: { idleSeconds: 30 * MINUTE, maxSeconds: 12 * HOUR },
  aal3: { idleSeconds: 15 * MINUTE, maxSeconds: 12 * HOUR },
  guest: { idleSeconds: 24 * HOUR, maxSeconds: 30 * DAY },
  /** An actor who acts as the user. */
  impersonation: { idleSeconds: 15 * MINUTE, maxSeconds: HOUR },
  /** A program. */
  service: { idleSeconds: 0, maxSeconds: 90 * DAY },
} as const satisfies Record<string, Policy>;
export type PolicyName = keyof typeof POLICIES;
export const POLICY_NAMES = Object.keys(POLICIES) as [PolicyName, ...PolicyName[]];

/** The default policy of a login. */
export const policyFor = (login: { userId: string | null; aal: number; remember: boolean }): PolicyName => {
  if (login.userId === null) return 'guest';
  if (login.aal >= 3) return 'aal3';
  if (login.aal === 2) return 'aal2';
  return login.remember ? 'standard' : 'session';
};
