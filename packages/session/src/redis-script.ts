import { createHash } from 'node:crypto';

/** The two commands of a Redis client that run Lua. */
export interface ScriptClient {
  evalsha(sha: string, keyCount: number, ...keysAndArgs: (string | number)[]): Promise<unknown>;
  eval(source: string, keyCount: number, ...keysAndArgs: (string | number)[]): Promise<unknown>;
}

/** Lua script that is called by its digest, and sent in full to a server that does not have it. */
export type SessionScript = (
  client: ScriptClient,
  keys: readonly string[],
  args: readonly (string | number)[],
) => Promise<unknown>;

/** Wraps Lua source into a {@link SessionScript}. */
export const script = (source: string): SessionScript => {
  const sha = createHash('sha1').update(source).digest('hex');
  return async (client, keys, args) => {
    try {
      return await client.evalsha(sha, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return client.eval(source, keys.length, ...keys, ...args);
    }
  };
};
