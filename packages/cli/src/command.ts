import type { Send } from '@muster/client/http';
import { uuidSegment } from '@muster/client/paths';
import type { CallApi } from './api-client.ts';

/** The command line was wrong; the message says what. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** What a command line runs in. */
export interface CliEnvironment {
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  out(text: string): void;
  err(text: string): void;
  /** From now on Ctrl-C is a wish to end in order, told by this signal. */
  interruption(): AbortSignal;
}

/** What a command works with. */
export interface Context {
  /** Origin of the fleet. */
  readonly url: string;
  /** Calls of the session service, with the service API key. */
  readonly send: Send;
  /** Calls of the gateways' server API, with the server API key. */
  readonly api: CallApi;
  /** See {@link CliEnvironment.interruption}. */
  interruption(): AbortSignal;
  /** One line of a result that comes bit by bit. */
  say(line: string): void;
  /** A remark beside the result. */
  note(line: string): void;
  readonly positionals: readonly string[];
  option(name: string): string | undefined;
  isSet(name: string): boolean;
}

/** What a command has to say: for people, and for scripts. */
export interface CliResponse {
  readonly text: string;
  /** Undefined when everything was said before. */
  readonly json: unknown;
  /** True ends with exit code 1: the command worked, and what it found is bad. */
  readonly isBad?: boolean;
}

/** One command. */
export interface CliCommand {
  readonly name: string;
  readonly usage: string;
  readonly summary: string;
  readonly options: Readonly<
    Record<string, { readonly type: 'string' | 'boolean'; readonly short?: string }>
  >;
  run(context: Context): Promise<CliResponse>;
}

/** The one positional argument of a command that needs exactly one. */
export const onlyArgument = ({ positionals }: Context, what: string): string => {
  const [first, ...more] = positionals;
  if (first === undefined) throw new UsageError(`${what} is missing`);
  if (more.length > 0) throw new UsageError(`only one ${what} at a time`);
  return first;
};

/** The one positional argument of a command that needs exactly one id, checked and ready for a path. */
export const onlyId = (context: Context, what: string): string => {
  const id = onlyArgument(context, what);
  return segment(() => uuidSegment(what, id));
};

/** A segment of a path; a text that cannot be one is a wrong command line. */
export const segment = (make: () => string): string => {
  try {
    return make();
  } catch (error) {
    throw error instanceof TypeError ? new UsageError(error.message) : error;
  }
};
