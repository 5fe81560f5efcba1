import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { postgresAccount } from './postgres-account.ts';
import { executable, programFinder } from './programs.ts';
import { type ForegroundOptions, foregroundServer, type ServerSpec } from './server-process.ts';

/** PgBouncer on loopback with a complete configuration; `port` is its `listen_port`. */
export interface PgbouncerOptions extends ForegroundOptions {
  readonly configFile: string;
  readonly config: string;
  /** The `auth_file` of the configuration. */
  readonly userlist: { readonly file: string; readonly text: string };
  readonly log: (line: string) => void;
}

/** The PgBouncer of this machine. Rejects with {@link MissingProgramError}. */
export const findPgbouncer = programFinder({
  find: executable('pgbouncer'),
  debianPackage: 'pgbouncer',
  missing: [
    'PgBouncer is required, and the program pgbouncer was not found. Install it:',
    '  apt-get install pgbouncer   or   brew install pgbouncer',
  ],
});

/** PgBouncer does not run as root; root runs it as the account of Postgres. */
export const pgbouncerServer = (options: PgbouncerOptions): ServerSpec => {
  const account = postgresAccount(options.log);
  const files: [string, string][] = [
    [options.configFile, options.config],
    [options.userlist.file, options.userlist.text],
  ];
  for (const [file, text] of files) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text, { mode: 0o600 });
    if (account !== undefined) chownSync(file, account.uid, account.gid);
  }
  return foregroundServer({
    name: 'pgbouncer',
    ...options,
    args: [options.configFile],
    // SIGTERM ends it without waiting for clients.
    stopDeadlineMs: 2_000,
    account,
  });
};
