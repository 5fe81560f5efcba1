import { randomBytes } from 'node:crypto';
import type { Case, ConformanceContext, Retention } from './case.ts';
import { connectCases } from './cases/connect.ts';
import { deltaCases } from './cases/deltas.ts';
import { recoveryCases } from './cases/recovery.ts';
import { retentionCases } from './cases/retention.ts';
import { subscriptionCases } from './cases/subscriptions.ts';
import { openPeer } from './peer.ts';
import { createWire, FORMATS, type Format } from './wire.ts';

/** Server under test, and the credential. */
export interface Subject {
  /** The endpoint, such as `ws://127.0.0.1:8080/connection/websocket`. */
  readonly url: string;
  /** Token of a user with access to ordinary groups. */
  readonly token: string;
  /** Namespace of the groups of the suite. */
  readonly namespace?: string;
  readonly api?: ConformanceContext['api'];
  /** Namespace with a small and short history. */
  readonly retention?: Retention & { readonly namespace: string };
}

const CASES: readonly Case[] = [
  ...connectCases,
  ...subscriptionCases,
  ...recoveryCases,
  ...retentionCases,
  ...deltaCases,
];

/** Every case in each of its formats. */
export const runs: readonly { readonly format: Format; readonly each: Case }[] = FORMATS.flatMap((format) =>
  CASES.filter(({ formats = FORMATS }) => formats.includes(format)).map((each) => ({ format, each })),
);

/** Fixture of one case. */
export const createConformanceContext = (
  { url, token, namespace = '', api, retention }: Subject,
  format: Format,
): ConformanceContext => {
  const wire = createWire(format);
  const open = () => openPeer(url, wire);
  const groupIn = (name: string) => `${name === '' ? '' : `${name}:`}conformance-${randomBytes(6).toString('hex')}`;
  return {
    format,
    open,
    api,
    credential: { token },
    connect: async () => {
      const peer = await open();
      peer.send({ id: 1, connect: { token, name: 'conformance' } });
      const { connect, error } = await peer.reply(1);
      if (!connect) throw new Error(`connect: expected a result, got ${JSON.stringify(error)}`);
      return peer;
    },
    group: () => groupIn(namespace),
    retention: retention && { ...retention, group: () => groupIn(retention.namespace) },
  };
};
