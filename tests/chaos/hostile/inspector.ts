import { once } from 'node:events';
import { until } from '@muster/testkit/wait';
import WebSocket from 'ws';

/** Calls methods of the inspector of a Node process that was started with `--inspect-port`. */
export const openInspector = async (pid: number, port: number): Promise<(method: string) => Promise<unknown>> => {
  process.kill(pid, 'SIGUSR1');
  const [target] = await until(
    async () =>
      (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as {
        webSocketDebuggerUrl: string;
      }[],
    { what: 'the inspector of the gateway' },
  );
  const socket = new WebSocket(target?.webSocketDebuggerUrl ?? '');
  await once(socket, 'open');
  let lastId = 0;
  return (method) =>
    new Promise((resolve) => {
      lastId += 1;
      const id = lastId;
      const onMessage = (data: WebSocket.RawData): void => {
        const answer = JSON.parse(String(data)) as { id?: number; result?: unknown };
        if (answer.id !== id) return;
        socket.off('message', onMessage);
        resolve(answer.result);
      };
      socket.on('message', onMessage);
      socket.send(JSON.stringify({ id, method }));
    });
};
