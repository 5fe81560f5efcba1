import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import type { Ceiling, SettingMeta } from './config-fields.ts';

/** An invalid configuration. The message lists every problem by variable and shows no value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Throws {@link ConfigError} with every problem, if there are any. */
export const rejectProblems = (problems: readonly string[]): void => {
  if (problems.length === 0) return;
  throw new ConfigError(`Invalid configuration:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
};

type CamelCase<N extends string> = N extends `${infer Head}_${infer Tail}`
  ? `${Lowercase<Head>}${Capitalize<CamelCase<Tail>>}`
  : Lowercase<N>;

const camelCase = (name: string): string =>
  name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

type Values<S extends z.ZodRawShape> = z.output<z.ZodObject<S>>;

/** Values by variable: `PING_INTERVAL_MS` as `pingIntervalMs`. With a prefix: only names that start with it, without it. */
export type SettingValues<S extends z.ZodRawShape, Prefix extends string = ''> = {
  readonly [N in keyof Values<S> as N extends `${Prefix}${infer Name}` ? CamelCase<Name> : never]: Values<S>[N];
};

/** Variables of earlier releases, and their names today. */
const RENAMED_VARIABLES: Readonly<Record<string, string>> = {
  BEAT_INTERVAL_MS: 'HEARTBEAT_INTERVAL_MS',
  BEAT_TTL_MS: 'HEARTBEAT_TTL_MS',
  GATHER_MS: 'PUBLISH_BATCH_WINDOW_MS',
  MAX_OUTBOX_BYTES: 'MAX_SEND_BUFFER_BYTES',
  JOURNEY: 'SYNTHETIC_CHECK',
  JOURNEY_INTERVAL_MS: 'SYNTHETIC_CHECK_INTERVAL_MS',
  SOCKET_PROBE_INTERVAL_MS: 'WEBSOCKET_PROBE_INTERVAL_MS',
  CONSOLE_TRY_IT: 'PLAYGROUND',
};

/**
 * Reads the variables of a schema; `NAME_FILE` reads `NAME` from a file, for mounted secrets. An empty variable counts as absent.
 * Throws {@link ConfigError} with every problem at once, renamed variables that are still set included.
 */
export const readSettings = <S extends z.ZodRawShape>(
  schema: z.ZodObject<S>,
  env: NodeJS.ProcessEnv,
): SettingValues<S> => {
  const names = Object.keys(schema.shape);
  const problems = renamedVariables(names, env);
  const given: Record<string, string> = {};
  for (const name of names) {
    const value = readVariable(name, env, problems);
    if (value !== undefined) given[name] = value;
  }
  const parsed = schema.safeParse(given);
  for (const issue of parsed.error?.issues ?? []) {
    const name = issue.path.join('.');
    problems.push(`${name}: ${given[name] === undefined ? 'is required' : issue.message}`);
  }
  rejectProblems(problems);
  const values = Object.entries(parsed.data ?? {}).map(([name, value]) => [camelCase(name), value]);
  return Object.fromEntries(values) as SettingValues<S>;
};

const renamedVariables = (names: readonly string[], env: NodeJS.ProcessEnv): string[] =>
  Object.entries(RENAMED_VARIABLES)
    .filter(([old, name]) => names.includes(name) && (env[old] || env[`${old}_FILE`]))
    .map(([old, name]) => `${old}: renamed to ${name}`);

const readVariable = (name: string, env: NodeJS.ProcessEnv, problems: string[]): string | undefined => {
  const value = env[name] === '' ? undefined : env[name];
  const file = env[`${name}_FILE`];
  if (file === undefined || file === '') return value;
  if (value !== undefined) {
    problems.push(`${name}: set ${name} or ${name}_FILE, not both`);
    return value;
  }
  try {
    return readFileSync(file, 'utf8').trimEnd();
  } catch (error) {
    problems.push(`${name}_FILE: cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`);
    return undefined;
  }
};

/** The values of some of the settings, without the common prefix of their names. */
export const pickSettings = <S extends z.ZodRawShape, const Prefix extends string = ''>(
  values: SettingValues<S>,
  shape: S,
  prefix: Prefix,
): SettingValues<S, Prefix> => {
  const all = values as Readonly<Record<string, unknown>>;
  const picked = Object.keys(shape)
    .filter((name) => name.startsWith(prefix) && camelCase(name) in all)
    .map((name) => [camelCase(name.slice(prefix.length)), all[camelCase(name)]]);
  return Object.fromEntries(picked) as SettingValues<S, Prefix>;
};

/** A variable as `--help` and the README of a service describe it. */
export interface SettingDescription {
  readonly name: string;
  readonly isRequired: boolean;
  /** Undefined for a required variable and for one without a default. */
  readonly fallback: string | undefined;
  /** Bounds and unit of a number. */
  readonly range: string | undefined;
  readonly meaning: string;
}

/** The variables of a schema in its order. */
export const listSettings = (schema: z.ZodObject): SettingDescription[] =>
  Object.entries(schema.shape).map(([name, type]) => {
    const { description = '', unit, min, max, fallback } = metaOf(type as z.ZodType);
    const absent = (type as z.ZodType).safeParse(undefined);
    return {
      name,
      isRequired: !absent.success,
      fallback: fallback ?? textOf(absent.data),
      range: unit === undefined ? undefined : `${boundOf(min, unit)} to ${boundOf(max, unit)}`,
      meaning: description,
    };
  });

const metaOf = (type: z.ZodType): SettingMeta => (type.meta() ?? {}) as SettingMeta;

const DAY_MS = 86_400_000;

const boundOf = (value = 0, unit = ''): string =>
  unit === 'ms' && value >= DAY_MS ? `${value / DAY_MS} days` : `${value} ${unit}`.trimEnd();

/** A default as the environment would spell it. */
const textOf = (value: unknown): string | undefined => {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'string' || typeof value === 'number') return String(value);
  return Array.isArray(value) && value.length > 0 ? value.join(',') : undefined;
};

/** One line per variable for `--help`: name, default, meaning, bounds. */
export const describeSettings = (schema: z.ZodObject): string =>
  listSettings(schema)
    .map(({ name, isRequired, fallback, range, meaning }) => {
      const need = fallback ?? (isRequired ? 'required' : 'optional');
      return `  ${name.padEnd(30)} ${need.padEnd(16)} ${meaning}${range === undefined ? '' : ` (${range})`}`;
    })
    .join('\n');

/** A limit among the settings, and its default. */
export interface ServiceLimit extends Ceiling {
  readonly name: string;
  readonly fallback: string | undefined;
}

/** The settings that are marked with `ceiling`. */
export const listCeilings = (schema: z.ZodObject): ServiceLimit[] =>
  listSettings(schema).flatMap(({ name, fallback }) => {
    const mark = metaOf(schema.shape[name] as z.ZodType).ceiling;
    return mark === undefined ? [] : [{ name, fallback, ...mark }];
  });
