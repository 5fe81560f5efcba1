import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { runCli } from '@muster/cli/cli';
import { FAST, startAggregator, type TestAggregator } from '../aggregator-fixture.ts';
import { SERVER_KEY, startGateway, type TestGateway } from '../gateway-fixture.ts';
import { SERVICE_KEY, startService, type TestService } from '../session-fixture.ts';

/** One of each service, behind one address. */
export interface Trio extends AsyncDisposable {
  readonly service: TestService;
  readonly gateway: TestGateway;
  readonly aggregator: TestAggregator;
  /** `muster doctor`: its exit code, the step that failed, and what to do. */
  doctor(): Promise<{
    readonly code: number;
    readonly failed: string | undefined;
    readonly advice: string | undefined;
  }>;
  /** `muster connections`: its exit code and errors. */
  connections(): Promise<{ readonly code: number; readonly err: string }>;
}

interface Places {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly redisPrefix: string;
}

export const startTrio = async (places: Places): Promise<Trio> => {
  await using stack = new AsyncDisposableStack();
  const service = stack.use(await startService(places, FAST));
  const gateway = stack.use(await startGateway(places, service.opsUrl, FAST));
  const expected = { ...FAST, EXPECTED: 'session-service=1,ws-gateway=1,health-aggregator=1' };
  const aggregator = stack.use(await startAggregator(places, expected));
  const front = stack.use(
    await openFront((path) => {
      if (/^\/(connection|api)\//.test(path)) return gateway.app.port;
      return path.startsWith('/v1/fleet') ? aggregator.app.port : service.app.port;
    }),
  );
  const muster = async (...words: string[]) => {
    const [out, err]: [string[], string[]] = [[], []];
    const code = await runCli({
      argv: [...words, '--json', '--url', front.url, '--key', SERVICE_KEY, '--server-key', SERVER_KEY],
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

/** What the load balancer does, as far as one client of one replica needs it. */
const openFront = async (
  portOf: (path: string) => number,
): Promise<{ readonly url: string } & AsyncDisposable> => {
  const forward = (req: IncomingMessage, res: ServerResponse): void => {
    const { url: path = '/', method, headers } = req;
    const onward = request(
      { agent: false, host: '127.0.0.1', port: portOf(path), path, method, headers },
      (answer) => {
        res.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(res);
      },
    );
    onward.on('error', () => res.destroy());
    req.pipe(onward);
  };
  const server = createServer(forward);
  server.on('upgrade', ({ url: path = '/', rawHeaders }, socket, head) => {
    const onward = connect(portOf(path), '127.0.0.1');
    const lines = Array.from({ length: rawHeaders.length / 2 }, (_, at) =>
      rawHeaders.slice(2 * at, 2 * at + 2).join(': '),
    );
    onward.write(`GET ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    onward.write(head);
    socket.pipe(onward).pipe(socket);
    for (const [one, other] of [
      [socket, onward],
      [onward, socket],
    ] as const)
      one.on('error', () => other.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};
