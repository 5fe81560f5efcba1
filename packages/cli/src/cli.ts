import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createSender, MusterError } from '@muster/client/http';
import { createApi } from './api-client.ts';
import type { CliCommand, CliEnvironment } from './command.ts';
import { UsageError } from './command.ts';
import { connections } from './commands/connections.ts';
import { doctor } from './commands/doctor.ts';
import { groups, publish } from './commands/groups.ts';
import { keysCreate, keysList, keysRevoke } from './commands/keys.ts';
import { sessionsEnd, sessionsList, sessionsShow } from './commands/sessions.ts';
import { tail } from './commands/tail.ts';
import { adviceOnStores } from './fleet.ts';
import { findTarget } from './target.ts';
import { textOf } from './error-text.ts';

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
];
const OK = 0;
const FAILED = 1;
const MISUSED = 2;
const HELP_WIDTH = 73;
/** All tries of one call: with a dependency down the answer, and what to do, come within five seconds. */
const CALL_MS = 4_000;
/** Longest wait for one gateway: it answers within about a second also when another one hangs, and leaves time to ask that other. */
const API_TRY_MS = 2_000;

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  json: { type: 'boolean' },
  url: { type: 'string' },
  key: { type: 'string' },
  'server-key': { type: 'string' },
} as const;

/** Runs one command. Answers the exit code: 0 done, 1 refused or failed, 2 misused. Never throws. */
export const runCli = async (given: CliEnvironment): Promise<number> => {
  const around = { ...given, argv: commandFirst(given.argv) };
  const { argv, out, err } = around;
  if (argv[0] === '--version') {
    out(version());
    return OK;
  }
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

const perform = async (command: CliCommand, around: CliEnvironment): Promise<number> => {
  const { values, positionals } = parse(command, around.argv.slice(command.name.split(' ').length));
  if (values['help'] === true) {
    around.out(`usage: muster ${command.usage}\n\n${command.summary}`);
    return OK;
  }
  const text = (name: string) => (typeof values[name] === 'string' ? values[name] : undefined);
  const target = findTarget(around, { url: text('url'), key: text('key'), serverKey: text('server-key') });
  const sender = (headers: Record<string, string>, timeoutMs?: number) =>
    createSender(
      { baseUrl: target.url, totalMs: CALL_MS, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
      { headers },
    );
  const running = command.run({
    url: target.url,
    send: (call) => sender({ authorization: `Bearer ${target.key()}` })(call),
    api: createApi(target.url, () => sender({ 'x-api-key': target.serverKey() }, API_TRY_MS)),
    interruption: around.interruption,
    say: around.out,
    note: around.err,
    positionals,
    option: text,
    isSet: (name) => values[name] === true,
  });
  const answer = await running.catch(async (error: unknown) => {
    throw await withCause(error, target.url);
  });
  if (values['json'] !== true) around.out(answer.text);
  else if (answer.json !== undefined) around.out(JSON.stringify(answer.json, null, 2));
  return answer.isBad ? FAILED : OK;
};

/** Options that every command takes may stand before it, and between its words, too. */
const commandFirst = (argv: readonly string[]): readonly string[] => {
  const [first = '', ...rest] = optionsBehind(argv);
  if (first === '') return rest;
  return COMMANDS.some(({ name }) => name.startsWith(`${first} `))
    ? [first, ...optionsBehind(rest)]
    : [first, ...rest];
};

/** Moves options that stand in front to the end. */
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

const version = (): string =>
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version;

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

/** Of two values for one option neither may win: the other may be meant. */
const requireOnce = (
  given: readonly { readonly name: string; readonly value?: string | undefined }[],
): void => {
  const names = given.filter(({ value }) => value !== undefined).map(({ name }) => name);
  const repeated = names.find((name, at) => names.indexOf(name) !== at);
  if (repeated !== undefined) throw new UsageError(`--${repeated} is given more than once`);
};

const explain = ({ argv, out, err }: CliEnvironment): number => {
  const [first = ''] = argv;
  const asked = argv.length === 0 || first === 'help' || argv.includes('--help') || argv.includes('-h');
  const ofGroup = COMMANDS.filter(({ name }) => name.startsWith(`${first} `));
  const shown = ofGroup.length > 0 ? ofGroup : COMMANDS;
  if (!asked) {
    const known = shown.map(({ name }) => name).join(', ');
    err(`muster: ${sayUnknown(argv, ofGroup.length > 0)}; there are ${known}\nmuster --help explains them`);
    return MISUSED;
  }
  const lines = shown.map(
    ({ usage, summary }) => `  ${wrapped(`muster ${usage}`)}\n      ${wrapped(summary)}`,
  );
  const text = [
    'Sessions, groups, API keys and diagnostics of a Muster fleet.',
    '',
    ...lines,
    '',
    'Every command takes --json, and --url, --key (of the session service) and',
    '--server-key (of the gateways) to say which fleet. Without them: MUSTER_URL,',
    'MUSTER_API_KEY and MUSTER_SERVER_API_KEY, or the fleet that npm start runs',
    '(.muster/fleet.json here or above). muster --version prints the version.',
  ].join('\n');
  out(text);
  return OK;
};

/** Names at most the words of the command: what follows may be a key. */
const sayUnknown = (argv: readonly string[], isOfGroup: boolean): string => {
  const end = argv.findIndex((word) => word.startsWith('-'));
  const words = (end === -1 ? argv : argv.slice(0, end)).slice(0, isOfGroup ? 2 : 1);
  return words.length === 0 ? 'no command is given' : `there is no command ${words.join(' ')}`;
};

/** Breaks a usage or summary so that no line of the help is longer than 80 columns. */
const wrapped = (text: string): string => {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last !== '' && last.length + word.length >= HELP_WIDTH) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines.join('\n      ');
};

/** A store that is down explains more than the request that failed because of it. */
const withCause = async (error: unknown, url: string): Promise<unknown> => {
  if (!(error instanceof MusterError) || (error.status !== 503 && error.status !== 0)) return error;
  const advice = await adviceOnStores(url);
  return advice === undefined ? error : new Error(`${advice}; ${sayError(error)}`, { cause: error });
};

const sayError = (error: unknown): string => {
  if (!(error instanceof MusterError)) return textOf(error);
  const about = error.requestId === undefined ? '' : ` (request ${error.requestId})`;
  if (error.status === 0) return `${error.message}: ${causeOf(error)}`;
  if (error.status === 401) return `the API key was refused${about}: check --key or MUSTER_API_KEY`;
  const remedy = error.status === 503 ? ': try again, and see GET /health of the fleet if it stays' : '';
  return `${error.message} [${error.status} ${error.reason}]${about}${remedy}`;
};

/** Why there was no answer, as the network tells it, and what to look at. */
const causeOf = (error: Error): string => {
  let cause: unknown = error.cause;
  while (cause instanceof Error && cause.cause !== undefined) cause = cause.cause;
  const { code, name, message } = (cause ?? {}) as { code?: string; name?: string; message?: string };
  if (name === 'TimeoutError') return 'nothing came in time; is this the load balancer, and is it reachable?';
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG') {
    return `this port speaks http: use http:// instead of https:// [${code}]`;
  }
  if (code !== undefined && /CERT|SSL|TLS|SIGNED|VERIFY/.test(code)) {
    return `${message} [${code}]; a certificate authority of your own is named by NODE_EXTRA_CA_CERTS`;
  }
  return `${code ?? message ?? 'no connection'}; is the fleet running there?`;
};
