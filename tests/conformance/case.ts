import type { Peer } from './peer.ts';
import type { Format } from './wire.ts';

/** How many publications groups of a namespace keep, and for how long. */
export interface Retention {
  readonly size: number;
  readonly ttlMs: number;
}

/** What a case may use. */
export interface ConformanceContext {
  readonly format: Format;
  /** A socket that has said nothing yet. */
  open(): Promise<Peer>;
  /** A connected client; its connect command has id 1. */
  connect(): Promise<Peer>;
  /** The credential of `connect`. */
  readonly credential: object;
  /** A group that nobody has used. */
  group(): string;
  /** A method of the server API; undefined when the suite was given no key. */
  readonly api: ((method: string, params: object) => Promise<unknown>) | undefined;
  /** What a namespace keeps, and a group of it that nobody has used; undefined when the suite was told of none. */
  readonly retention: (Retention & { group(): string }) | undefined;
}

/** `protocol`: holds for every server of this protocol; `muster`: for this gateway only. */
export const KINDS = ['protocol', 'muster'] as const;
export type Kind = (typeof KINDS)[number];

/** One rule, tried. */
export interface Case {
  /** Rules of PROTOCOL.md that it tries. */
  readonly rules: readonly string[];
  readonly title: string;
  readonly kind: Kind;
  /** Default: both. */
  readonly formats?: readonly Format[];
  run(world: ConformanceContext): Promise<void>;
}

/** The gateway is set up so that this rule cannot be seen; the text says what is missing. */
export class Skip extends Error {
  override readonly name = 'Skip';
}

/** Fails with what was expected, unless both are equal as JSON. */
export const same = (what: string, actual: unknown, expected: unknown): void => {
  const [is, should] = [JSON.stringify(sorted(actual)), JSON.stringify(sorted(expected))];
  if (is !== should) throw new Error(`${what}: expected ${should}, got ${is}`);
};

/** Fails unless the condition holds. */
export const holds = (what: string, condition: unknown, actual?: unknown): void => {
  if (!condition) throw new Error(actual === undefined ? what : `${what}, got ${JSON.stringify(actual)}`);
};

/** A connection as the server API names it. The user stands beside the client: some servers look for the user first. */
export const targetOf = (
  { credential }: Pick<ConformanceContext, 'credential'>,
  peer: Peer,
): { readonly user: string | undefined; readonly client: string } => {
  const { client, data } = peer.messages[0].connect;
  return { user: data?.user ?? subjectOf(String((credential as { token?: unknown }).token)), client };
};

/** `sub` of a JSON Web Token; undefined for a token of another form. */
const subjectOf = (token: string): string | undefined => {
  try {
    return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).sub;
  } catch {
    return undefined;
  }
};

/** Fails unless the connection ends with this code, and with a reason that clients can bear. */
export const closes = async (peer: Peer, code: number): Promise<void> => {
  const timer = setTimeout(() => peer[Symbol.dispose](), 5_000);
  const ending = await peer.ended;
  clearTimeout(timer);
  same('close code', ending.code, code);
  holds('a reason', ending.reason !== '');
  holds('a reason that is not JSON', !isJson(ending.reason), ending.reason);
};

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

/** Members in one order, so that comparison does not depend on it. */
const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([name, one]) => [name, sorted(one)]),
  );
};
