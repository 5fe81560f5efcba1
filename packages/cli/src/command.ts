import type { Send } from '@muster/client/http';
import { uuidSegment } from '@muster/client/paths';
import type { CallApi } from './api-client.ts';
import type { LocalFleetFile } from './fleet.ts';

/** Invalid command line; the message names the option or argument. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Process environment of a command line. */
export interface CliEnvironment {
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  out(text: string): void;
  err(text: string): void;
  /** From the first call on, Ctrl-C aborts this signal instead of ending the process. */
  interruption(): AbortSignal;
}

/** Arguments and clients of a running command. */
export interface Context {
  /** Origin of the fleet. */
  readonly url: string;
  /** Client of the session service, with the service API key. */
  readonly send: Send;
  /** Client of the gateways' server API, with the server API key. */
  readonly api: CallApi;
  /** Client of the aggregators, with the operator token. */
  readonly operator: Send;
  /** The fleet of `npm start`, unless another is addressed. */
  localFleet(): LocalFleetFile | undefined;
  /** See {@link CliEnvironment.interruption}. */
  interruption(): AbortSignal;
  /** Prints a line of a streamed result. */
  print(line: string): void;
  /** Prints a remark to standard error. */
  note(line: string): void;
  readonly positionals: readonly string[];
  option(name: string): string | undefined;
  isSet(name: string): boolean;
}

/** Result of a command, as text and as JSON. */
export interface CliResponse {
  readonly text: string;
  /** Undefined after a streamed result. */
  readonly json: unknown;
  /** True: the command worked and found a fault; exit code 1. */
  readonly isBad?: boolean;
}

export interface CliCommand {
  readonly name: string;
  readonly usage: string;
  readonly summary: string;
  readonly options: Readonly<Record<string, { readonly type: 'string' | 'boolean'; readonly short?: string }>>;
  run(context: Context): Promise<CliResponse>;
}

/** The only positional argument. Throws {@link UsageError} for none or several. */
export const onlyArgument = ({ positionals }: Context, what: string): string => {
  const [first, ...more] = positionals;
  if (first === undefined) throw new UsageError(`${what} is missing`);
  if (more.length > 0) throw new UsageError(`expected one ${what}, got ${positionals.length}`);
  return first;
};

/** An option with an integer from 1 to `max`; `fallback` without it. Throws {@link UsageError}. */
export const integerOption = (
  { option }: Context,
  name: string,
  { fallback, max = Number.POSITIVE_INFINITY }: { readonly fallback: number; readonly max?: number },
): number => {
  const text = option(name);
  if (text === undefined) return fallback;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new UsageError(`--${name}: expected a number from 1${Number.isFinite(max) ? ` to ${max}` : ''}`);
};

/** The only positional argument, checked as a UUID and encoded as a path segment. */
export const onlyId = (context: Context, what: string): string => {
  const id = onlyArgument(context, what);
  return segment(() => uuidSegment(what, id));
};

/** Calls a path encoder; its TypeError becomes a {@link UsageError}. */
export const segment = (make: () => string): string => {
  try {
    return make();
  } catch (error) {
    throw error instanceof TypeError ? new UsageError(error.message) : error;
  }
};
