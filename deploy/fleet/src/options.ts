import { parseArgs } from 'node:util';

/** Ports of services lie 1000 apart from their ops ports, and 100 apart from each other's kind. */
const MAX_REPLICAS = 90;
const MAX_PORT = 65_535;
/** The ops port of the last aggregator is this far above the base. */
const PORT_SPAN = 1_300;

/** What the command line says. */
export interface LauncherOptions {
  readonly gateways: number;
  readonly sessions: number;
  readonly aggregators: number;
  /** Of the load balancer; 0 takes a free one. */
  readonly port: number;
  /** Of the first session service; the others follow from it. 0 takes free ones for all. */
  readonly basePort: number;
  /** Where data, logs and secrets lie; undefined is `.muster` of the checkout. */
  readonly data: string | undefined;
  readonly fresh: boolean;
  /** Whether a Prometheus watches the fleet. */
  readonly observability: boolean;
}

export const HELP = `npm start -- [options]      the whole fleet on this machine, on loopback only

  --gateways N     how many ws-gateways (2)
  --sessions N     how many session-services (1)
  --aggregators N  how many health-aggregators (1); of several, one leads
  --port N         port of the load balancer, where clients connect (8080; 0 takes a free one)
  --base-port N    session services listen from N, gateways from N+100, aggregators from N+200,
                   Postgres on N+300, Redis on N+301, ops ports 1000 above (8100; 0 takes free ones)
  --data DIR       where data, logs, secrets and fleet.json lie (.muster)
  --fresh          start with empty stores
  --observability  a Prometheus beside it, with the rules of deploy/prometheus, on base port N+302
  --help           this text

Configuration variables of the services that are set when it is called reach them:
  GUEST_SESSIONS=off PLAIN_SWEEP_MS=500 npm start
DATABASE_URL and REDIS_URL, when set, are used instead of stores of its own.
Ctrl-C (or SIGTERM) drains and ends everything it started; a second one ends it at once.
`;

/** What to do with a command line. */
export type ParsedOptions =
  | { is: 'run'; options: LauncherOptions }
  | { is: 'help' }
  | { is: 'refused'; message: string };

/** Reads the command line; every mistake is answered by a sentence that names the option. */
export const parseOptions = (argv: readonly string[]): ParsedOptions => {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        gateways: { type: 'string', default: '2' },
        sessions: { type: 'string', default: '1' },
        aggregators: { type: 'string', default: '1' },
        port: { type: 'string', default: '8080' },
        'base-port': { type: 'string', default: '8100' },
        data: { type: 'string' },
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
        data: values.data,
        fresh: values.fresh,
        observability: values.observability,
      },
    };
  } catch (error) {
    return {
      is: 'refused',
      message: `${(error as Error).message.split('. ')[0]}; --help lists every option`,
    };
  }
};

const parseInteger = (option: string, text: string, min: number, max: number): number => {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new Error(`${option} must be a whole number from ${min} to ${max}, and is ${JSON.stringify(text)}`);
};
