import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { acceptsConnections } from './ports.ts';
import { postgresAccount } from './postgres-account.ts';
import {
  type FindOptions,
  findOrInstall,
  findProgram,
  MissingProgramError,
  type Program,
} from './programs.ts';
import type { ServerSpec } from './server-process.ts';

/** A PgBouncer on loopback with a finished configuration. */
export interface PgbouncerOptions {
  readonly program: Program;
  /** The `listen_port` of the configuration. */
  readonly port: number;
  readonly configFile: string;
  readonly config: string;
  /** Contents of the `auth_file` that the configuration names. */
  readonly userlist: { readonly file: string; readonly text: string };
  readonly logFile: string;
  readonly env: NodeJS.ProcessEnv;
  readonly say: (line: string) => void;
}

/** The PgBouncer of this machine. Rejects with {@link MissingProgramError}. */
export const findPgbouncer = async (options: FindOptions): Promise<Program> => {
  const path = await findOrInstall(
    (directories) => findProgram(['pgbouncer'], directories),
    'pgbouncer',
    options,
  );
  if (path !== undefined) return { path };
  throw new MissingProgramError(
    'PgBouncer is needed, and pgbouncer was not found. Install it: apt-get install pgbouncer   or   brew install pgbouncer',
  );
};

/** PgBouncer refuses to run as root, so root runs it as the account of Postgres. */
export const pgbouncerServer = (options: PgbouncerOptions): ServerSpec => {
  const account = postgresAccount(options.say);
  const files: [string, string][] = [
    [options.configFile, options.config],
    [options.userlist.file, options.userlist.text],
  ];
  for (const [file, text] of files) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text, { mode: 0o600 });
    if (account.uid !== undefined && account.gid !== undefined) chownSync(file, account.uid, account.gid);
  }
  return {
    child: {
      name: 'pgbouncer',
      command: options.program.path,
      args: [options.configFile],
      env: options.env,
      logFile: options.logFile,
      ...account,
    },
    isReady: () => acceptsConnections(options.port),
    // Ends at once, without waiting for clients.
    stopSignal: 'SIGTERM',
    stopDeadlineMs: 2_000,
  };
};
