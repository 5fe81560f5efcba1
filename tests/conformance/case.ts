import type { Peer } from './peer.ts';
import type { Format } from './wire.ts';

/** Bounds of the streams of a namespace. */
export interface Retention {
  readonly size: number;
  readonly ttlMs: number;
}

/** Fixture of a case. */
export interface ConformanceContext {
  readonly format: Format;
  /** An open socket without a `connect` command. */
  open(): Promise<Peer>;
  /** A connected client; its connect command has id 1. */
  connect(): Promise<Peer>;
  /** The credential of `connect`. */
  readonly credential: object;
  /** Name of an unused group. */
  group(): string;
  /** Calls a method of the server API; undefined without `--server-key`. */
  readonly api: ((method: string, params: object) => Promise<unknown>) | undefined;
  /** Bounds of the namespace of `--retention`, and names of unused groups of it; undefined without the option. */
  readonly retention: (Retention & { group(): string }) | undefined;
}

/** `protocol`: for every server of the protocol; `muster`: for Muster gateways only. */
export const KINDS = ['protocol', 'muster'] as const;
export type Kind = (typeof KINDS)[number];

/** Test of one or more rules. */
export interface Case {
  /** Ids of rules of PROTOCOL.md. */
  readonly rules: readonly string[];
  readonly title: string;
  readonly kind: Kind;
  /** Default: both. */
  readonly formats?: readonly Format[];
  run(context: ConformanceContext): Promise<void>;
}

/** The settings of the server do not allow this test; the message names what is missing. */
export class Skip extends Error {
  override readonly name = 'Skip';
}

/** Fails unless both are equal as JSON, whatever the order of members. */
export const same = (what: string, actual: unknown, expected: unknown): void => {
  const [received, wanted] = [JSON.stringify(sorted(actual)), JSON.stringify(sorted(expected))];
  if (received !== wanted) throw new Error(`${what}: expected ${wanted}, got ${received}`);
};

/** Fails unless the condition holds. */
export const holds = (what: string, condition: unknown, actual?: unknown): void => {
  if (!condition) throw new Error(actual === undefined ? what : `${what}, got ${JSON.stringify(actual)}`);
};

/** Parameters that identify a connection in the server API. Some servers look it up by user first. */
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

/** Fails unless the connection is closed with this code within 5 s, with a reason that is neither empty nor JSON. */
export const closes = async (peer: Peer, code: number): Promise<void> => {
  const timer = setTimeout(() => peer[Symbol.dispose](), 5_000);
  const close = await peer.closed;
  clearTimeout(timer);
  same('close code', close.code, code);
  holds('a reason', close.reason !== '');
  holds('a reason that is not JSON', !isJson(close.reason), close.reason);
};

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

/** The value with its members sorted by name. */
const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([name, member]) => [name, sorted(member)]),
  );
};
