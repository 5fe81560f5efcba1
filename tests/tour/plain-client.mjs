// A client without any SDK: lines typed become publications, publications become lines.
// Usage: node plain-client.mjs ws://127.0.0.1:8080/ws?group=lobby SESSION_TOKEN
import { createInterface } from 'node:readline';
import WebSocket from 'ws';

const [url, token] = process.argv.slice(2);
if (!url || !token) {
  process.stderr.write('usage: node plain-client.mjs ws://HOST/ws?group=NAME SESSION_TOKEN\n');
  process.exit(1);
}
const socket = new WebSocket(url, { headers: { authorization: `Bearer ${token}` } });
const log = (text) => process.stdout.write(`${text}\n`);

socket.on('upgrade', (response) => log(`connected to ${response.headers['x-muster-gateway']}; type, and press Enter`));
socket.on('message', (data) => log(String(data)));
socket.on('error', (error) => log(`refused: ${error.message}`));
socket.on('close', (code, reason) => {
  log(`closed: ${code} ${reason}`);
  process.exit(0);
});
createInterface({ input: process.stdin }).on('line', (line) => socket.send(line));
// A client that stays silent for two minutes is taken for dead.
setInterval(() => socket.readyState === WebSocket.OPEN && socket.send('{"type":"heartbeat"}'), 30_000);
