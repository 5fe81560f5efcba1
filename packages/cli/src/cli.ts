import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createSender, MusterError } from '@muster/client/http';
import { createApi } from './api-client.ts';
import { type CliCommand, type CliEnvironment, UsageError } from './command.ts';
import { connections } from './commands/connections.ts';
import { doctor } from './commands/doctor.ts';
import { groups, publish } from './commands/groups.ts';
import { keysCreate, keysList, keysRevoke } from './commands/keys.ts';
import { rollout } from './commands/rollout.ts';
import { scaleIn } from './commands/scale-in.ts';
import { sessionsEnd, sessionsList, sessionsShow } from './commands/sessions.ts';
import { tail } from './commands/tail.ts';
import { describeError } from './error-text.ts';
import { adviceOnStores } from './fleet.ts';
import { findTarget } from './target.ts';

const COMMANDS: readonly CliCommand[] = [
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
  rollout,
  scaleIn,
];
const OK = 0;
const FAILED = 1;
const USAGE_ERROR = 2;
const HELP_WIDTH = 73;
/** Time limit of one call with its retries, in ms: a command whose dependency is down ends within five seconds. */
const CALL_MS = 4_000;
/** Time limit of one try of the server API, in ms: leaves time for a retry at another gateway. */
const API_TRY_MS = 2_000;

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  json: { type: 'boolean' },
  url: { type: 'string' },
  key: { type: 'string' },
  'server-key': { type: 'string' },
  'ops-token': { type: 'string' },
} as const;

/** Runs a command and resolves with its exit code: 0 success, 1 failure, 2 usage error. Never rejects. */
export const runCli = async (environment: CliEnvironment): Promise<number> => {
  const cli = { ...environment, argv: commandFirst(environment.argv) };
  const { argv, out, err } = cli;
  if (argv[0] === '--version') {
    out(version());
    return OK;
  }
  const command = COMMANDS.find(({ name }) => name.split(' ').every((word, at) => argv[at] === word));
  if (command === undefined) return explain(cli);
  try {
    return await perform(command, cli);
  } catch (error) {
    if (error instanceof UsageError) {
      err(`muster: ${error.message}\n\nusage: muster ${command.usage}`);
      return USAGE_ERROR;
    }
    err(`muster: ${describeError(error)}`);
    return FAILED;
  }
};

const perform = async (command: CliCommand, cli: CliEnvironment): Promise<number> => {
  const { values, positionals } = parse(command, cli.argv.slice(command.name.split(' ').length));
  if (values['help'] === true) {
    cli.out(`usage: muster ${command.usage}\n\n${command.summary}`);
    return OK;
  }
  const text = (name: string) => (typeof values[name] === 'string' ? values[name] : undefined);
  const target = findTarget(cli, {
    url: text('url'),
    key: text('key'),
    serverKey: text('server-key'),
    opsToken: text('ops-token'),
  });
  const sender = (headers: Record<string, string>, timeoutMs?: number) =>
    createSender(
      { baseUrl: target.url, totalMs: CALL_MS, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
      { headers },
    );
  const running = command.run({
    url: target.url,
    send: (call) => sender({ authorization: `Bearer ${target.key()}` })(call),
    api: createApi(target.url, () => sender({ 'x-api-key': target.serverKey() }, API_TRY_MS)),
    operator: (call) => sender({ authorization: `Bearer ${target.opsToken()}` })(call),
    localFleet: target.localFleet,
    interruption: cli.interruption,
    print: cli.out,
    note: cli.err,
    positionals,
    option: text,
    isSet: (name) => values[name] === true,
  });
  const answer = await running.catch(async (error: unknown) => {
    throw await withCause(error, target.url);
  });
  if (values['json'] !== true) cli.out(answer.text);
  else if (answer.json !== undefined) cli.out(JSON.stringify(answer.json, null, 2));
  return answer.isBad ? FAILED : OK;
};

/** Moves the common options behind the command, which they may precede or interrupt. */
const commandFirst = (argv: readonly string[]): readonly string[] => {
  const [first = '', ...rest] = optionsBehind(argv);
  if (first === '') return rest;
  return COMMANDS.some(({ name }) => name.startsWith(`${first} `)) ? [first, ...optionsBehind(rest)] : [first, ...rest];
};

/** Moves leading options to the end. */
const optionsBehind = (argv: readonly string[]): readonly string[] => {
  const rest = [...argv];
  const front: string[] = [];
  for (;;) {
    const [name = '', value] = (rest[0] ?? '').split('=', 2);
    const option = OPTIONS[name.replace(/^--/, '') as keyof typeof OPTIONS];
    if (!name.startsWith('--') || option === undefined || rest.length === 1) return [...rest, ...front];
    front.push(rest.shift() ?? '');
    if (option.type === 'string' && value === undefined) front.push(rest.shift() ?? '');
  }
};

const version = (): string => JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version;

interface Parsed {
  readonly values: Readonly<Record<string, string | boolean | undefined>>;
  readonly positionals: readonly string[];
}

const parse = (command: CliCommand, args: readonly string[]): Parsed => {
  try {
    const options = { ...OPTIONS, ...command.options };
    const { values, positionals, tokens } = parseArgs({
      args: [...args],
      options,
      allowPositionals: true,
      tokens: true,
    });
    requireOnce(tokens.flatMap((token) => (token.kind === 'option' ? [token] : [])));
    return { values, positionals };
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
};

/** Throws {@link UsageError} for an option with two values. */
const requireOnce = (given: readonly { readonly name: string; readonly value?: string | undefined }[]): void => {
  const names = given.filter(({ value }) => value !== undefined).map(({ name }) => name);
  const repeated = names.find((name, at) => names.indexOf(name) !== at);
  if (repeated !== undefined) throw new UsageError(`--${repeated} is given more than once`);
};

const explain = ({ argv, out, err }: CliEnvironment): number => {
  const [first = ''] = argv;
  const isHelp = argv.length === 0 || first === 'help' || argv.includes('--help') || argv.includes('-h');
  const ofGroup = COMMANDS.filter(({ name }) => name.startsWith(`${first} `));
  const shown = ofGroup.length > 0 ? ofGroup : COMMANDS;
  if (!isHelp) {
    const known = shown.map(({ name }) => name).join(', ');
    err(`muster: ${unknownCommand(argv, ofGroup.length > 0)}; available: ${known}\nsee muster --help`);
    return USAGE_ERROR;
  }
  const lines = shown.map(({ usage, summary }) => `  ${wrapped(`muster ${usage}`)}\n      ${wrapped(summary)}`);
  const text = [
    'Sessions, groups, API keys, diagnostics and rollouts of a Muster fleet.',
    '',
    ...lines,
    '',
    'Options of every command: --json; --url, the origin of the fleet; --key, an API',
    'key of the session service; --server-key, an API key of the gateways. Defaults:',
    'MUSTER_URL, MUSTER_API_KEY and MUSTER_SERVER_API_KEY, else the fleet started by',
    'npm start (.muster/fleet.json in this directory or a parent). muster --version',
    'prints the version.',
  ].join('\n');
  out(text);
  return OK;
};

/** Repeats only the words of the command: what follows may be a key. */
const unknownCommand = (argv: readonly string[], isOfGroup: boolean): string => {
  const end = argv.findIndex((word) => word.startsWith('-'));
  const words = (end === -1 ? argv : argv.slice(0, end)).slice(0, isOfGroup ? 2 : 1);
  return words.length === 0 ? 'no command is given' : `there is no command ${words.join(' ')}`;
};

/** Wraps a usage or summary at 80 columns. */
const wrapped = (text: string): string => {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last !== '' && last.length + word.length >= HELP_WIDTH) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines.join('\n      ');
};

/** Adds the store that is down, if any, to the error of a request. */
const withCause = async (error: unknown, url: string): Promise<unknown> => {
  if (!(error instanceof MusterError) || (error.status !== 503 && error.status !== 0)) return error;
  const advice = await adviceOnStores(url);
  return advice === undefined ? error : new Error(`${advice}; ${describeError(error)}`, { cause: error });
};
