// The npm package `centrifuge` against Muster.
// Usage: node sdk-client.mjs ws://127.0.0.1:8080/connection/websocket SESSION_TOKEN GROUP [TEXT]
import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

const [url, token, group, text] = process.argv.slice(2);
if (!url || !token || !group) {
  process.stderr.write('usage: node sdk-client.mjs ws://HOST/connection/websocket SESSION_TOKEN GROUP [TEXT]\n');
  process.exit(1);
}
const log = (line) => process.stdout.write(`${line}\n`);
const client = new Centrifuge(url, { token, websocket: WebSocket });
client.on('connected', ({ data }) => log(`connected to ${data.gateway} as ${data.user}`));
client.on('connecting', ({ code, reason }) => code !== 0 && log(`reconnecting: ${code} ${reason}`));
client.on('disconnected', ({ code, reason }) => {
  log(`closed: ${code} ${reason}`);
  process.exit(0);
});

const subscription = client.newSubscription(group);
subscription.on('publication', ({ data, info }) =>
  log(`${info?.user ?? '?'}: ${typeof data === 'string' ? data : JSON.stringify(data)}`),
);
subscription.on(
  'subscribed',
  () => text && subscription.publish(text).catch((error) => log(`refused: ${error.message}`)),
);
subscription.subscribe();
client.connect();
