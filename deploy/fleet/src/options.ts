import { parseArgs } from 'node:util';
import { DEFAULT_SIZE, type LauncherSize } from './plan.ts';

/** Fewer than the 100 ports between the ports of two services. */
const MAX_REPLICAS = 90;
const MAX_PORT = 65_535;
/** Distance of the highest ops port from the base port. */
const PORT_SPAN = 1_300;

/** Options of the command line. */
export interface LauncherOptions extends LauncherSize {
  /** Directory for data, logs and secrets; default `.muster`. */
  readonly data: string | undefined;
  readonly fresh: boolean;
}

export const HELP = `npm start -- [options]      starts the fleet on this machine, on loopback

  --gateways N     number of ws-gateways (2)
  --sessions N     number of session-services (1)
  --direct         gateways share one port, and clients connect to it instead of the load balancer, which
                   stays for HTTP; the summary and fleet.json (gatewayUrl) have its URL
  --aggregators N  number of health-aggregators (1); one of them is the leader
  --port N         port of the load balancer, for clients (8080; 0: a free port)
  --base-port N    first port of the services (8100; 0: free ports). Session services N, gateways N+100,
                   aggregators N+200, Postgres N+300, Redis N+301, Prometheus N+302, ops ports 1000 above
  --data DIR       directory for data, logs, secrets and fleet.json (.muster)
  --fresh          start with empty stores
  --observability  start Prometheus with the rules of deploy/prometheus
  --help           this text

Configuration variables in the environment are passed to the services:
  GUEST_SESSIONS=off PLAIN_SWEEP_MS=500 npm start
With DATABASE_URL or REDIS_URL that store is used, and no local store is started.
Ctrl-C or SIGTERM drains and stops the fleet; a second signal kills it.
`;

/** Result of {@link parseOptions}. */
export type ParsedOptions =
  | { is: 'run'; options: LauncherOptions }
  | { is: 'help' }
  | { is: 'invalid'; message: string };

/** Parses the command line; an error is one line that names the option. */
export const parseOptions = (argv: readonly string[]): ParsedOptions => {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        gateways: { type: 'string', default: String(DEFAULT_SIZE.gateways) },
        sessions: { type: 'string', default: String(DEFAULT_SIZE.sessions) },
        aggregators: { type: 'string', default: String(DEFAULT_SIZE.aggregators) },
        port: { type: 'string', default: String(DEFAULT_SIZE.port) },
        'base-port': { type: 'string', default: String(DEFAULT_SIZE.basePort) },
        data: { type: 'string' },
        direct: { type: 'boolean', default: false },
        fresh: { type: 'boolean', default: false },
        observability: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (values.help) return { is: 'help' };
    return {
      is: 'run',
      options: {
        gateways: parseInteger('--gateways', values.gateways, 1, MAX_REPLICAS),
        sessions: parseInteger('--sessions', values.sessions, 1, MAX_REPLICAS),
        aggregators: parseInteger('--aggregators', values.aggregators, 1, MAX_REPLICAS),
        port: parseInteger('--port', values.port, 0, MAX_PORT),
        basePort: parseInteger('--base-port', values['base-port'], 0, MAX_PORT - PORT_SPAN),
        direct: values.direct,
        data: values.data,
        fresh: values.fresh,
        observability: values.observability,
      },
    };
  } catch (error) {
    return { is: 'invalid', message: `${(error as Error).message.split('. ')[0]}; --help lists every option` };
  }
};

const parseInteger = (option: string, text: string, min: number, max: number): number => {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new Error(`${option}: expected an integer from ${min} to ${max}, got ${JSON.stringify(text)}`);
};
