import { randomBytes } from 'node:crypto';
import type { Case, ConformanceContext, Retention } from './case.ts';
import { connecting } from './cases/connect.ts';
import { deltas } from './cases/deltas.ts';
import { keeping } from './cases/recovery.ts';
import { retaining } from './cases/retention.ts';
import { subscribing } from './cases/subscriptions.ts';
import { openPeer } from './peer.ts';
import { createWire, FORMATS, type Format } from './wire.ts';

/** Where the suite runs, and as whom. */
export interface Subject {
  /** The endpoint, such as `ws://127.0.0.1:8080/connection/websocket`. */
  readonly url: string;
  /** Of a user who may use ordinary groups. */
  readonly token: string;
  /** Starts the names of all groups that are used: a namespace, or nothing. */
  readonly namespace?: string;
  readonly api?: ConformanceContext['api'];
  /** A namespace that keeps few publications for a short time. */
  readonly retention?: Retention & { readonly namespace: string };
}

const CASES: readonly Case[] = [...connecting, ...subscribing, ...keeping, ...retaining, ...deltas];

/** Every case in every form it concerns. */
export const runs: readonly { readonly format: Format; readonly one: Case }[] = FORMATS.flatMap((format) =>
  CASES.filter(({ formats = FORMATS }) => formats.includes(format)).map((one) => ({ format, one })),
);

/** What a case needs of the subject. */
export const createConformanceContext = (
  { url, token, namespace = '', api, retention }: Subject,
  format: Format,
): ConformanceContext => {
  const wire = createWire(format);
  const open = () => openPeer(url, wire);
  const groupIn = (one: string) =>
    `${one === '' ? '' : `${one}:`}conformance-${randomBytes(6).toString('hex')}`;
  return {
    format,
    open,
    api,
    credential: { token },
    connect: async () => {
      const peer = await open();
      peer.send({ id: 1, connect: { token, name: 'conformance' } });
      const { connect, error } = await peer.reply(1);
      if (!connect) throw new Error(`connect was refused: ${JSON.stringify(error)}`);
      return peer;
    },
    group: () => groupIn(namespace),
    retention: retention && { ...retention, group: () => groupIn(retention.namespace) },
  };
};
