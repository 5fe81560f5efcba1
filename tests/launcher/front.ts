import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';

/** A minimal load balancer for one replica per service: forwards requests and upgrades by path. */
export const openFront = async (
  portOf: (path: string) => number,
): Promise<{ readonly url: string } & AsyncDisposable> => {
  const forward = (req: IncomingMessage, res: ServerResponse): void => {
    const { url: path = '/', method, headers } = req;
    const upstream = request(
      { agent: false, host: '127.0.0.1', port: portOf(path), path, method, headers },
      (answer) => {
        res.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(res);
      },
    );
    upstream.on('error', () => res.destroy());
    req.pipe(upstream);
  };
  const server = createServer(forward);
  server.on('upgrade', ({ url: path = '/', rawHeaders }, socket, head) => {
    const upstream = connect(portOf(path), '127.0.0.1');
    const lines = Array.from({ length: rawHeaders.length / 2 }, (_, at) =>
      rawHeaders.slice(2 * at, 2 * at + 2).join(': '),
    );
    upstream.write(`GET ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    upstream.write(head);
    socket.pipe(upstream).pipe(socket);
    for (const [source, target] of [
      [socket, upstream],
      [upstream, socket],
    ] as const)
      source.on('error', () => target.destroy());
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
