import type { Send } from '@muster/client/http';

/** The command line was wrong; the message says what. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** What a command line runs in. */
export interface Surroundings {
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  out(text: string): void;
  err(text: string): void;
}

/** What a command works with. */
export interface Context {
  /** Calls of the service plane, with the API key. */
  readonly send: Send;
  readonly positionals: readonly string[];
  option(name: string): string | undefined;
  isSet(name: string): boolean;
}

/** What a command has to say: for people, and for scripts. */
export interface Answer {
  readonly text: string;
  readonly json: unknown;
  /** True ends with exit code 1: the command worked, and what it found is bad. */
  readonly isBad?: boolean;
}

/** One command. */
export interface Command {
  readonly name: string;
  readonly usage: string;
  readonly summary: string;
  readonly options: Readonly<
    Record<string, { readonly type: 'string' | 'boolean'; readonly short?: string }>
  >;
  run(context: Context): Promise<Answer>;
}

/** The one positional argument of a command that needs exactly one. */
export const onlyArgument = ({ positionals }: Context, what: string): string => {
  const [first, ...more] = positionals;
  if (first === undefined) throw new UsageError(`${what} is missing`);
  if (more.length > 0) throw new UsageError(`only one ${what} at a time`);
  return first;
};
