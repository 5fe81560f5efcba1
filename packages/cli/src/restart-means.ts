import { spawn } from 'node:child_process';
import { hostname } from 'node:os';
import { type Context, UsageError } from './command.ts';
import type { InstanceReport, LocalFleetFile } from './fleet.ts';

/** Lines for a shell. */
type Lines = readonly string[];

/** How a deployment restarts and removes an instance. */
export interface RestartMeans {
  /** Lines before the first instance of a service, such as a migration. */
  prepare?(service: string): Lines;
  /** Lines that start a further instance of the new release; without it an instance restarts in place. */
  add?(service: string): Lines;
  /** Lines that restart an instance in place, or remove it after `add`. */
  replace(instance: InstanceReport): Lines;
  /** Lines that stop an instance for good. */
  remove(instance: InstanceReport): Lines;
}

/** Options of commands that restart instances. */
export const RESTART_OPTIONS = {
  with: { type: 'string' },
  command: { type: 'string' },
  compose: { type: 'string' },
} as const;

/** The means of the options; without any those of the local fleet. Throws {@link UsageError}. */
export const restartMeansOf = ({ option, localFleet }: Pick<Context, 'option' | 'localFleet'>): RestartMeans => {
  const command = option('command');
  const form = option('with') ?? (command === undefined ? undefined : 'command');
  if (command !== undefined && form !== 'command') throw new UsageError('--command and --with exclude each other');
  switch (form) {
    case 'command':
      return byCommand(command ?? '');
    case 'compose':
      return byCompose(option('compose') ?? 'docker compose');
    case 'systemd':
      return bySystemd();
    case undefined:
    case 'local':
      return byLauncher(localFleet);
    default:
      throw new UsageError('--with: expected compose, systemd or local');
  }
};

const byCommand = (template: string): RestartMeans => {
  if (!template.includes('{name}')) throw new UsageError('--command: expected a command with {name}');
  const replace = ({ name }: InstanceReport): Lines => [template.replaceAll('{name}', checkedName(name))];
  return { replace, remove: replace };
};

/** A container is not changed in place: another is started beside it, and it is removed. The names of instances start with its id. */
const byCompose = (compose: string): RestartMeans => {
  const container = ({ name }: InstanceReport): string => checkedName(name).split(':')[0] ?? '';
  const remove = (instance: InstanceReport): Lines => [
    // SIGTERM drains; the deadline is stop_grace_period.
    `docker stop ${container(instance)}`,
    `docker rm ${container(instance)}`,
  ];
  return {
    prepare: (service) => (service === 'session-service' ? [`${compose} run --rm --no-deps -T migrate`] : []),
    add: (service) => [
      `${compose} up --detach --no-deps --no-build --no-recreate --scale ${service}=$(($(${compose} ps --quiet ${service} | wc -l) + 1)) ${service}`,
    ],
    replace: remove,
    remove,
  };
};

/** Names of instances are `HOST:UNIT`, as the units of deploy/systemd set them. */
const bySystemd = (): RestartMeans => {
  const systemctl = ({ name }: InstanceReport, command: string): Lines => {
    const [host = '', unit] = checkedName(name).split(':');
    if (unit === undefined) throw new Error(`${name}: expected a name of the form HOST:UNIT, see deploy/systemd`);
    return [`systemctl ${host === hostname() ? '' : `--host ${host} `}${command} ${unit}`];
  };
  return {
    replace: (instance) => systemctl(instance, 'restart'),
    remove: (instance) => systemctl(instance, 'disable --now'),
  };
};

/** The launcher of `npm start` restarts a process that has ended. */
const byLauncher = (localFleet: () => LocalFleetFile | undefined): RestartMeans => {
  if (localFleet() === undefined)
    throw new UsageError('state how instances are restarted: --with compose, --with systemd or --command CMD');
  return {
    replace: ({ name }) => {
      const { sessionServices = [], gateways = [], healthAggregators = [] } = localFleet() ?? {};
      const pid = [...sessionServices, ...gateways, ...healthAggregators].find((one) => one.name === name)?.pid ?? 0;
      if (pid <= 1) throw new Error(`${name}: .muster/fleet.json has no process of this name`);
      return [`kill -TERM ${pid}`];
    },
    remove: () => {
      throw new UsageError('the launcher of npm start restarts what ends: start it with fewer --gateways instead');
    },
  };
};

/** A name as a word of a shell; names come from the registry. */
const checkedName = (name: string): string => {
  if (!/^[\w.:@-]{1,128}$/.test(name) || name.startsWith('-'))
    throw new Error(`${JSON.stringify(name)}: expected a name of letters, digits, dots, colons, dashes and @`);
  return name;
};

const TAIL_LINES = 10;
const MAX_OUTPUT = 65_536;

/** Runs lines of a shell one after the other. Rejects with the end of the output of a line that fails or takes too long. */
export const runLines = async (lines: Lines, timeoutMs: number): Promise<void> => {
  for (const line of lines) await runLine(line, timeoutMs);
};

const runLine = (line: string, timeoutMs: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', line], { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
    let output = '';
    const collect = (part: Buffer): void => {
      output = (output + part.toString()).slice(-MAX_OUTPUT);
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) return resolve();
      const tail = output.trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
      const how = signal === null ? `exit code ${code}` : `ended by ${signal} after ${timeoutMs / 1000} s`;
      reject(new Error(`${line}: ${how}${tail === '' ? '' : `\n${tail}`}`));
    });
  });
