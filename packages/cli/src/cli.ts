import { parseArgs } from 'node:util';
import { createSender, MusterError } from '@muster/client/http';
import { createApi } from './api.ts';
import type { Command, Surroundings } from './command.ts';
import { UsageError } from './command.ts';
import { connections } from './commands/connections.ts';
import { doctor } from './commands/doctor.ts';
import { groups, publish } from './commands/groups.ts';
import { keysCreate, keysList, keysRevoke } from './commands/keys.ts';
import { sessionsEnd, sessionsList, sessionsShow } from './commands/sessions.ts';
import { tail } from './commands/tail.ts';
import { findTarget } from './target.ts';

const COMMANDS: readonly Command[] = [
  sessionsList,
  sessionsShow,
  sessionsEnd,
  keysCreate,
  keysList,
  keysRevoke,
  connections,
  groups,
  publish,
  tail,
  doctor,
];
const OK = 0;
const FAILED = 1;
const MISUSED = 2;

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  json: { type: 'boolean' },
  url: { type: 'string' },
  key: { type: 'string' },
  'server-key': { type: 'string' },
} as const;

/** Runs one command. Answers the exit code: 0 done, 1 refused or failed, 2 misused. Never throws. */
export const runCli = async (around: Surroundings): Promise<number> => {
  const { argv, err } = around;
  const command = COMMANDS.find(({ name }) => name.split(' ').every((word, at) => argv[at] === word));
  if (command === undefined) return explain(around);
  try {
    return await perform(command, around);
  } catch (error) {
    if (error instanceof UsageError) {
      err(`muster: ${error.message}\n\nusage: muster ${command.usage}`);
      return MISUSED;
    }
    err(`muster: ${sayError(error)}`);
    return FAILED;
  }
};

const perform = async (command: Command, around: Surroundings): Promise<number> => {
  const { values, positionals } = parse(command, around.argv.slice(command.name.split(' ').length));
  if (values['help'] === true) {
    around.out(`usage: muster ${command.usage}\n\n${command.summary}`);
    return OK;
  }
  const text = (name: string) => (typeof values[name] === 'string' ? values[name] : undefined);
  const target = findTarget(around, { url: text('url'), key: text('key'), serverKey: text('server-key') });
  const sender = (headers: Record<string, string>) => createSender({ baseUrl: target.url }, { headers });
  const answer = await command.run({
    url: target.url,
    send: (call) => sender({ authorization: `Bearer ${target.key()}` })(call),
    api: createApi(() => sender({ 'x-api-key': target.serverKey() })),
    interruption: around.interruption,
    say: around.out,
    note: around.err,
    positionals,
    option: text,
    isSet: (name) => values[name] === true,
  });
  if (values['json'] !== true) around.out(answer.text);
  else if (answer.json !== undefined) around.out(JSON.stringify(answer.json, null, 2));
  return answer.isBad ? FAILED : OK;
};

interface Parsed {
  readonly values: Readonly<Record<string, string | boolean | undefined>>;
  readonly positionals: readonly string[];
}

const parse = (command: Command, args: readonly string[]): Parsed => {
  try {
    return parseArgs({
      args: [...args],
      options: { ...OPTIONS, ...command.options },
      allowPositionals: true,
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
};

const explain = ({ argv, out, err }: Surroundings): number => {
  const asked = argv.length === 0 || argv.includes('--help') || argv.includes('-h');
  const width = Math.max(...COMMANDS.map(({ usage }) => usage.length));
  const lines = COMMANDS.map(({ usage, summary }) => `  muster ${usage.padEnd(width)}  ${summary}`);
  const text = [
    'Sessions, groups, API keys and diagnostics of a Muster fleet.',
    '',
    ...lines,
    '',
    'Every command takes --json, and --url, --key (of the session service) and --server-key (of the gateways) to say which',
    'fleet. Without them: MUSTER_URL, MUSTER_API_KEY and MUSTER_SERVER_API_KEY, or the fleet that npm start runs',
    '(.muster/fleet.json here or above).',
  ].join('\n');
  if (asked) {
    out(text);
    return OK;
  }
  err(`muster: there is no command ${argv.join(' ')}\n\n${text}`);
  return MISUSED;
};

const sayError = (error: unknown): string => {
  if (!(error instanceof MusterError)) return error instanceof Error ? error.message : String(error);
  const about = error.requestId === undefined ? '' : ` (request ${error.requestId})`;
  if (error.status === 0) return `${error.message}: is the fleet running there?`;
  if (error.status === 401) return `the API key was refused${about}: check --key or MUSTER_API_KEY`;
  return `${error.message} [${error.status} ${error.reason}]${about}`;
};
