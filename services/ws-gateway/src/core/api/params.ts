import type { Bus } from '@muster/bus/bus';
import type { Presence } from '@muster/bus/presence';
import { ReplyError } from '@muster/protocol/codes';
import type { Payload } from '@muster/protocol/commands';
import { DEFAULT_TENANT, type GroupName, groupNameFault, isTenantName, parseGroupName } from '@muster/protocol/ids';
import { memberText } from '@muster/protocol/raw-json';
import type { AppCallbacks } from '../callbacks.ts';
import type { Hub } from '../group/hub.ts';
import type { GroupOptions, Namespaces } from '../namespaces.ts';
import type { ConnectionLimits, EngineMetrics } from '../ports.ts';
import { ApiError, type ApiOutcome, badRequest } from './api-errors.ts';
import type { ResponseBudget } from './response-budget.ts';

export interface ApiDeps {
  readonly hub: Hub;
  readonly bus: Pick<Bus, 'read' | 'clear' | 'query'>;
  readonly presence: Pick<Presence, 'read'>;
  readonly limits: Pick<ConnectionLimits, 'maxPresenceClients' | 'maxBatchAnswerBytes'>;
  readonly namespaces: Namespaces;
  readonly callbacks: Pick<AppCallbacks, 'has' | 'rpc'>;
  readonly metrics: Pick<EngineMetrics, 'refused' | 'rateLimited'>;
  /** Limit of data for clients, in bytes. */
  readonly maxDataBytes: number;
}

/** Receives the outcome of each call, including the calls of a batch. */
export type ApiObserver = (method: string, outcome: ApiOutcome) => void;

export interface ApiCallOptions {
  /** JSON text of the parameters; payloads are forwarded from it unchanged. */
  readonly text?: string | undefined;
  /** Tenant of the caller's key; undefined: any tenant. */
  readonly tenant?: string | undefined;
  readonly observe?: ApiObserver | undefined;
  /** Shared by the calls of one request. */
  readonly budget?: ResponseBudget | undefined;
}

/** Performs a call. Never rejects. */
export type ApiCall = (method: string, params: unknown, by?: ApiCallOptions) => Promise<ApiOutcome>;

/**
 * A method: from its parameters and tenant to the JSON text of its result. `reach` is the tenant of the key or the call, else `*`: the
 * tenants in which the caller may address a client or session by its id, which is unique over all tenants.
 */
export type ApiMethod = (params: Params, tenant: string, reach: string) => Promise<string>;

/** The options of a group. Throws {@link ApiError} 102 for an unknown namespace. */
export const requireOptions = ({ namespaces }: { readonly namespaces: Namespaces }, group: GroupName): GroupOptions => {
  const options = namespaces.optionsOf(group);
  if (options === undefined) {
    throw new ApiError(ReplyError.UnknownGroup, `the namespace of ${group} is not configured`);
  }
  return options;
};

/** Stands for all tenants; not a valid tenant name. */
export const EVERY_TENANT = '*';

type JsonObject = Readonly<Record<string, unknown>>;

/** Longest key or epoch stored in Redis, in characters. */
const MAX_KEY_LENGTH = 255;
/** Parameter names quoted in an error, and characters of each. */
const MAX_QUOTED = 10;
const MAX_QUOTED_LENGTH = 40;

/** The parameters of one call, checked when they are read. Throws {@link ApiError} 107, which names the parameter. */
export class Params {
  readonly #values: JsonObject;
  /** JSON text of all parameters, where available. */
  readonly #text: string | undefined;
  /** Prefix of parameter names in errors. */
  readonly #path: string;

  constructor(values: unknown, text?: string, path = '') {
    if (!isObject(values)) {
      throw badRequest(
        `${path === '' ? 'the parameters' : `\`${path}\``} must be a JSON object, not ${kindOf(values)}`,
      );
    }
    this.#values = values;
    this.#text = text;
    this.#path = path === '' ? '' : `${path}.`;
  }

  has(name: string): boolean {
    return this.#get(name) !== undefined;
  }

  text(name: string): string {
    const value = this.#get(name) ?? '';
    if (typeof value !== 'string') throw this.#wrong(name, 'a string');
    return value;
  }

  /** A text stored in Redis: a key or an epoch. */
  key(name: string): string {
    const value = this.text(name);
    if (value.length <= MAX_KEY_LENGTH) return value;
    throw this.bad(name, `has ${value.length} characters; at most ${MAX_KEY_LENGTH}`);
  }

  /** A client or session id in lower case; '' when absent. */
  id(name: string): string {
    return this.text(name).toLowerCase();
  }

  ids(name: string): string[] {
    return this.texts(name).map((id) => id.toLowerCase());
  }

  flag(name: string): boolean {
    const value = this.#get(name) ?? false;
    if (typeof value !== 'boolean') throw this.#wrong(name, 'true or false');
    return value;
  }

  integer(name: string): number {
    const value = this.#get(name) ?? 0;
    if (typeof value !== 'number') throw this.#wrong(name, 'a whole number');
    if (!Number.isSafeInteger(value)) throw this.bad(name, `must be a whole number, not ${value}`);
    return value;
  }

  texts(name: string): string[] {
    const value = this.list(name);
    const isText = (one: unknown): one is string => typeof one === 'string';
    if (!value.every(isText)) throw this.bad(name, 'must contain strings only');
    return value;
  }

  list(name: string): unknown[] {
    const value = this.#get(name) ?? [];
    if (!Array.isArray(value)) throw this.#wrong(name, 'a list');
    return value;
  }

  /** Tags by name; undefined when absent. */
  tags(name: string): Readonly<Record<string, string>> | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (!isObject(value)) throw this.#wrong(name, 'an object of strings');
    if (!Object.values(value).every((one) => typeof one === 'string'))
      throw this.bad(name, 'must contain strings only');
    return value as Readonly<Record<string, string>>;
  }

  object(name: string): Params | undefined {
    const value = this.#get(name);
    return value === undefined ? undefined : new Params(value, undefined, this.#path + name);
  }

  /** JSON text of an application's value, unchanged; `b64…` has it in base64. */
  payload(name: string): Payload {
    if (this.has(name) && this.has(`b64${name}`))
      throw this.bad(name, `and \`b64${name}\` are both given: send one of them`);
    if (Object.hasOwn(this.#values, name) && !this.has(`b64${name}`)) {
      const text = this.#text === undefined ? JSON.stringify(this.#values[name]) : memberText(this.#text, name);
      // A line break inside the value would split a frame.
      return (text ?? 'null').replace(/[\r\n]+/g, ' ');
    }
    const encoded = this.text(`b64${name}`);
    if (encoded === '') throw this.missing(name);
    const binary = Buffer.from(encoded, 'base64').toString();
    if (!isJson(binary)) throw this.bad(`b64${name}`, 'must be base64 of JSON text');
    return binary.replace(/[\r\n]+/g, ' ');
  }

  group(name = 'channel'): GroupName {
    const text = this.text(name);
    const group = parseGroupName(text);
    if (group !== undefined) return group;
    if (text === '') throw this.has(name) ? this.bad(name, 'is empty') : this.missing(name);
    throw this.bad(name, groupNameFault(text));
  }

  /**
   * The tenant of the call: that of the key, or for an unbound key the parameter or the default tenant. Throws {@link ApiError} 103
   * for another tenant than that of the key. `*` stands for all tenants.
   */
  tenant(ofKey: string | undefined): string {
    const named = this.text('tenant');
    if (ofKey !== undefined) {
      if (named === '' || named === ofKey) return ofKey;
      throw new ApiError(ReplyError.PermissionDenied, `this key is for the tenant ${ofKey} only`);
    }
    if (named === '') return DEFAULT_TENANT;
    if (named === EVERY_TENANT || isTenantName(named)) return named;
    throw this.bad('tenant', 'must be 1 to 64 letters, digits, `_`, `.` or `-`');
  }

  /** The error for an invalid parameter. */
  bad(name: string, why: string): ApiError {
    return badRequest(`\`${this.#path}${name}\` ${why}`);
  }

  /** The error for a missing parameter; it lists the given parameters, among which a misspelt name shows. */
  missing(name: string): ApiError {
    const given = Object.keys(this.#values);
    const some = given.slice(0, MAX_QUOTED).map((one) => one.slice(0, MAX_QUOTED_LENGTH));
    const more = given.length > some.length ? ', …' : '';
    return this.bad(name, `is missing; given: ${some.length === 0 ? 'nothing' : `${some.join(', ')}${more}`}`);
  }

  #wrong(name: string, kind: string): ApiError {
    return this.bad(name, `must be ${kind}, not ${kindOf(this.#get(name))}`);
  }

  #get(name: string): unknown {
    return Object.hasOwn(this.#values, name) ? (this.#values[name] ?? undefined) : undefined;
  }
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The kind of a JSON value, for an error text. */
const kindOf = (value: unknown): string => {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return 'a list';
  return { object: 'an object', string: 'a string', number: 'a number' }[typeof value as string] ?? 'a boolean';
};

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};
