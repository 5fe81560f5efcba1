import type { EngineMetrics } from '../ports.ts';

/** Closes that the socket layer starts by itself, for what a peer sent. */
const REFUSED_BELOW: ReadonlyMap<number, string> = new Map([
  [1002, 'websocket_protocol'],
  [1007, 'not_utf8'],
  [1009, 'too_big'],
]);
const NOT_A_WORD = 1006;

/** Counts the end of a connection that we did not close: who ended it, and what was refused if that was why. */
export const recordDisconnect = (metrics: EngineMetrics, code: number): void => {
  const refusal = REFUSED_BELOW.get(code);
  if (refusal === undefined) metrics.disconnected(code === NOT_A_WORD ? 'network' : 'client', code);
  else {
    metrics.refused(refusal);
    metrics.disconnected('server', code);
  }
};
