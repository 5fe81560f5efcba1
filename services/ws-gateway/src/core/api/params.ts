import { ReplyError } from '@muster/protocol/codes';
import type { Payload } from '@muster/protocol/commands';
import { type GroupName, parseGroupName } from '@muster/protocol/ids';
import { memberText } from '@muster/protocol/raw-json';
import type { GroupOptions, Namespaces } from '../namespaces.ts';

/** A call that cannot be done, by code. */
export class ApiError extends Error {
  readonly code: number;
  /** What the application says of a code of its own. */
  readonly told: string | undefined;
  /** What is wrong, after the text of the code. */
  readonly reason: string | undefined;

  constructor(code: number, told?: string, reason?: string) {
    super(`api error ${code}`);
    this.name = 'ApiError';
    this.code = code;
    this.told = told;
    this.reason = reason;
  }
}

/** The options of a group. Throws {@link ApiError} 102 when its namespace does not exist. */
export const requireOptions = (
  { namespaces }: { readonly namespaces: Namespaces },
  group: GroupName,
): GroupOptions => {
  const options = namespaces.optionsOf(group);
  if (options === undefined) throw new ApiError(ReplyError.UnknownGroup);
  return options;
};

type JsonObject = Readonly<Record<string, unknown>>;

/** The parameters of one call, each checked when it is read. Throws {@link ApiError} 107. */
export class Params {
  readonly #values: JsonObject;
  /** The JSON text of the whole, when there is one. */
  readonly #text: string | undefined;

  constructor(values: unknown, text?: string) {
    if (typeof values !== 'object' || values === null || Array.isArray(values))
      throw new ApiError(ReplyError.BadRequest);
    this.#values = values as JsonObject;
    this.#text = text;
  }

  has(name: string): boolean {
    return this.#get(name) !== undefined;
  }

  text(name: string): string {
    const value = this.#get(name) ?? '';
    if (typeof value !== 'string') throw new ApiError(ReplyError.BadRequest);
    return value;
  }

  flag(name: string): boolean {
    const value = this.#get(name) ?? false;
    if (typeof value !== 'boolean') throw new ApiError(ReplyError.BadRequest);
    return value;
  }

  integer(name: string): number {
    const value = this.#get(name) ?? 0;
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw new ApiError(ReplyError.BadRequest);
    return value;
  }

  texts(name: string): string[] {
    const value = this.#get(name) ?? [];
    if (!Array.isArray(value) || value.some((one) => typeof one !== 'string'))
      throw new ApiError(ReplyError.BadRequest);
    return value;
  }

  list(name: string): unknown[] {
    const value = this.#get(name) ?? [];
    if (!Array.isArray(value)) throw new ApiError(ReplyError.BadRequest);
    return value;
  }

  /** Texts by name; undefined when there are none. */
  tags(name: string): Readonly<Record<string, string>> | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    const isTags =
      typeof value === 'object' && Object.values(value as object).every((one) => typeof one === 'string');
    if (!isTags) throw new ApiError(ReplyError.BadRequest);
    return value as Readonly<Record<string, string>>;
  }

  object(name: string): Params | undefined {
    const value = this.#get(name);
    return value === undefined ? undefined : new Params(value);
  }

  /** JSON text of an application's value, as it came; `b64…` carries the same in base64. */
  payload(name: string): Payload {
    if (Object.hasOwn(this.#values, name)) {
      const text =
        this.#text === undefined ? JSON.stringify(this.#values[name]) : memberText(this.#text, name);
      // Line breaks between the parts of a value would cut a frame in two.
      return (text ?? 'null').replace(/[\r\n]+/g, ' ');
    }
    const binary = Buffer.from(this.text(`b64${name}`), 'base64').toString();
    if (!isJson(binary)) throw new ApiError(ReplyError.BadRequest);
    return binary.replace(/[\r\n]+/g, ' ');
  }

  group(name = 'channel'): GroupName {
    const group = parseGroupName(this.text(name));
    if (group === undefined) throw new ApiError(ReplyError.BadRequest);
    return group;
  }

  #get(name: string): unknown {
    return Object.hasOwn(this.#values, name) ? (this.#values[name] ?? undefined) : undefined;
  }
}

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};
