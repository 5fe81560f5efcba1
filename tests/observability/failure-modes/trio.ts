import { runCli } from '@muster/cli/cli';
import { FAST, startAggregator, type TestAggregator } from '../../aggregator/fixture.ts';
import { SERVER_KEY, startGateway, type TestGateway } from '../../gateway/fixture.ts';
import { openFront } from '../../launcher/front.ts';
import { SERVICE_KEY, startService, type TestService } from '../../session/fixture.ts';

/** One instance of each service, behind one address. */
export interface Trio extends AsyncDisposable {
  readonly service: TestService;
  readonly gateway: TestGateway;
  readonly aggregator: TestAggregator;
  /** `muster doctor`: its exit code, the step that failed, and the remedy. */
  doctor(): Promise<{
    readonly code: number;
    readonly failed: string | undefined;
    readonly advice: string | undefined;
  }>;
  /** `muster connections`: its exit code and errors. */
  connections(): Promise<{ readonly code: number; readonly err: string }>;
}

interface StoreAddresses {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly redisPrefix: string;
}

export const startTrio = async (addresses: StoreAddresses): Promise<Trio> => {
  await using stack = new AsyncDisposableStack();
  const service = stack.use(await startService(addresses, FAST));
  const gateway = stack.use(await startGateway(addresses, service.opsUrl, FAST));
  const expected = { ...FAST, EXPECTED: 'session-service=1,ws-gateway=1,health-aggregator=1' };
  const aggregator = stack.use(await startAggregator(addresses, expected));
  const front = stack.use(
    await openFront((path) => {
      if (/^\/(connection|api)\//.test(path)) return gateway.app.port;
      return path.startsWith('/v1/fleet') ? aggregator.app.port : service.app.port;
    }),
  );
  const muster = async (...args: string[]) => {
    const [out, err]: [string[], string[]] = [[], []];
    const code = await runCli({
      argv: [...args, '--json', '--url', front.url, '--key', SERVICE_KEY, '--server-key', SERVER_KEY],
      ...{ env: {}, cwd: '/', err: (text) => err.push(text), out: (text) => out.push(text) },
      interruption: () => new AbortController().signal,
    });
    return { code, out: out.join('\n'), err: err.join('\n') };
  };
  const owned = stack.move();
  return {
    service,
    gateway,
    aggregator,
    doctor: async () => {
      const { code, out } = await muster('doctor');
      const { steps } = JSON.parse(out) as { steps: { step: string; state: string; advice?: string }[] };
      const failed = steps.find(({ state }) => state === 'failed');
      return { code, failed: failed?.step, advice: failed?.advice };
    },
    connections: () => muster('connections'),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};
