import { z } from 'zod';

const DAY_MS = 86_400_000;
const PLACEHOLDER = /^(change[-_ ]?me|secret|password|example|development|test)/i;
const ON = ['on', 'true', '1', 'yes'];
const OFF = ['off', 'false', '0', 'no'];

/** Documentation of a setting, kept in the metadata of its schema. */
export interface SettingMeta {
  /** One text for `--help` and the README: standard English, default and bounds excluded. */
  readonly description?: string;
  /** Unit of a number, such as `ms`. */
  readonly unit?: string;
  readonly min?: number;
  readonly max?: number;
  /** Text for a default that is computed from other settings. */
  readonly fallback?: string;
  readonly ceiling?: Ceiling;
}

/** A limit that a setting configures. */
export interface Ceiling {
  /** Counted unit, such as `sockets`. */
  readonly unit: string;
  /** The answer beyond the limit. */
  readonly refusal: string;
  /** The series that counts refusals. */
  readonly metric: string;
  /** The rule whose test covers the limit. */
  readonly rule: string;
}

/** Metadata of a limit: `field.count(…).describe(…).meta(ceiling(…))`. docs/operations/sizing.md is generated from it. */
export const ceiling = (unit: string, refusal: string, metric: string, rule: string): Pick<SettingMeta, 'ceiling'> => ({
  ceiling: { unit, refusal, metric, rule },
});

interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

const wholeNumber =
  (unit: string, lowest: number, highest: number) =>
  (fallback: number, { min = lowest, max = highest }: Bounds = {}) =>
    z
      .string()
      .regex(/^\d+$/, `expected a whole number${unit === '' ? '' : ` in ${unit}`}`)
      .transform(Number)
      .pipe(z.number().min(min, `expected at least ${min}`).max(max, `expected at most ${max}`))
      .default(fallback)
      .meta({ unit, min, max } satisfies SettingMeta);

const splitList = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');

/** Types of environment variables: text in, validated value out. Numbers are whole and bounded, bounds included. */
export const field = {
  /** Milliseconds: 1 to 30 days unless stated otherwise. */
  ms: wholeNumber('ms', 1, 30 * DAY_MS),
  /** Bytes: 1 to 2 GiB unless stated otherwise. */
  bytes: wholeNumber('bytes', 1, 2 ** 31),
  /** A count: 0 to ten million unless stated otherwise. */
  count: wholeNumber('', 0, 10_000_000),
  /** A TCP port; 0 selects a free port. */
  port: wholeNumber('', 0, 65_535),
  /** `on` or `off` (also true/false, 1/0, yes/no). */
  onOff: (fallback: 'on' | 'off') =>
    z
      .string()
      .toLowerCase()
      .refine((text) => ON.includes(text) || OFF.includes(text), 'expected on or off')
      .transform((text) => ON.includes(text))
      .default(fallback === 'on'),
  /** An absolute URL with one of the given schemes. */
  url: (...schemes: readonly string[]) =>
    z.string().refine((text) => isUrl(text, schemes), `expected a URL that starts with ${prefixesOf(schemes)}`),
  /** Comma-separated absolute URLs, at least one. */
  urls: (...schemes: readonly string[]) =>
    z
      .string()
      .transform(splitList)
      .refine(
        (urls) => urls.length > 0 && urls.every((url) => isUrl(url, schemes)),
        `expected one or more URLs that start with ${prefixesOf(schemes)}`,
      ),
  /** Comma-separated strings. */
  list: (fallback: readonly string[] = []) =>
    z
      .string()
      .transform(splitList)
      .default([...fallback]),
  /** Comma-separated strings, parsed by `make`; the message of an error that it throws becomes the problem. */
  listAs: <T>(make: (parts: readonly string[]) => T) =>
    z
      .string()
      .default('')
      .transform((text, context) => {
        try {
          return make(splitList(text));
        } catch (error) {
          context.addIssue({ code: 'custom', message: (error as Error).message });
          return z.NEVER;
        }
      }),
  /** Comma-separated exact origins, such as `https://app.example.com`. */
  origins: () =>
    z
      .string()
      .transform(splitList)
      .refine((origins) => origins.every(isOrigin), 'expected origins (scheme://host[:port], no path)')
      .optional(),
  /** Comma-separated secrets, the newest first; at least one, each of at least `min` bytes. */
  secrets: ({ min }: { min: number }) =>
    z
      .string()
      .transform(splitList)
      .refine((secrets) => secrets.length > 0, 'expected at least one value')
      .refine(
        (secrets) => secrets.every((secret) => Buffer.byteLength(secret) >= min),
        `expected at least ${min} bytes per value`,
      ),
  /** A secret of at least `min` bytes. */
  secret: ({ min }: { min: number }) =>
    z.string().refine((text) => Buffer.byteLength(text) >= min, `expected at least ${min} bytes`),
  /** Free text. */
  text: (fallback: string) => z.string().min(1, 'expected a text').default(fallback),
};

const isUrl = (text: string, schemes: readonly string[]): boolean =>
  schemes.some((scheme) => text.startsWith(`${scheme}://`)) && URL.canParse(text);

const prefixesOf = (schemes: readonly string[]): string => schemes.map((scheme) => `${scheme}://`).join(' or ');

/** True when the text is exactly what a browser sends as `Origin` (RFC 6454 §6.2): scheme, host, optional port. */
export const isOrigin = (text: string): boolean => URL.canParse(text) && new URL(text).origin === text;

/** True for values that were meant to be replaced, such as those of our examples. */
export const isPlaceholderSecret = (text: string): boolean =>
  PLACEHOLDER.test(text) || /example|changeme|insecure/i.test(text) || new Set(text).size < 8;

/** Problems of secrets, by variable, that still have an example value. */
export const placeholderProblems = (secrets: Readonly<Record<string, readonly (string | undefined)[]>>): string[] =>
  Object.entries(secrets)
    .filter(([, values]) => values.some((value) => value !== undefined && isPlaceholderSecret(value)))
    .map(([name]) => `${name}: an example value is rejected in production. Generate a secret`);
