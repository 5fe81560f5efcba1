import { lookup, resolveSrv } from 'node:dns/promises';
import { isIP } from 'node:net';
import { every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { DiscoveredTarget } from '../core/unregistered-instances.ts';

const RESOLVE_MS = 10_000;
const MAX_FOUND = 500;
const ENTRY = /^([a-z0-9-]{1,64})=(?:(srv):([\w.-]{1,253})|(\[[0-9a-f:.]+\]|[\w.-]{1,253}):(\d{1,5}))$/i;

/** An entry of `TARGETS`: an address, a host name with any number of addresses, or an SRV record. */
export type TargetSource =
  | { readonly service: string; readonly by: 'host'; readonly host: string; readonly port: number }
  | { readonly service: string; readonly by: 'srv'; readonly name: string };

/** Parses `service=host:port` or `service=srv:name`; undefined for anything else. */
export const parseTargetSource = (text: string): TargetSource | undefined => {
  const [, service, srv, name, host, port] = ENTRY.exec(text) ?? [];
  if (service === undefined) return undefined;
  if (srv !== undefined) return { service, by: 'srv', name: name ?? '' };
  const number = Number(port);
  if (number < 1 || number > 65_535) return undefined;
  return { service, by: 'host', host: (host ?? '').replace(/^\[|\]$/g, ''), port: number };
};

/** Resolves an entry; rejects when the name does not resolve. */
export const resolveTargetSource = async (source: TargetSource): Promise<DiscoveredTarget[]> => {
  const { service } = source;
  if (source.by === 'host') {
    const addresses = isIP(source.host)
      ? [source.host]
      : (await lookup(source.host, { all: true })).map(({ address }) => address);
    return addresses.map((address) => ({ service, address: at(address, source.port) }));
  }
  const records = await resolveSrv(source.name);
  const found = records.map(({ name, port }) => resolveTargetSource({ service, by: 'host', host: name, port }));
  return (await Promise.all(found)).flat();
};

const at = (address: string, port: number): string =>
  isIP(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;

/** Resolves all entries at once and every ten seconds; an entry that does not resolve keeps its last addresses. Disposing stops it. */
export const discoverTargets = (
  sources: readonly TargetSource[],
  { found, log }: { readonly found: (targets: readonly DiscoveredTarget[]) => void; readonly log: Logger },
): Disposable => {
  if (sources.length === 0) return { [Symbol.dispose]: () => {} };
  const last = new Map<TargetSource, readonly DiscoveredTarget[]>();
  const failed = new Set<TargetSource>();
  let isStopped = false;

  const resolveAll = async (): Promise<void> => {
    await Promise.all(
      sources.map(async (source) => {
        try {
          last.set(source, await resolveTargetSource(source));
          failed.delete(source);
        } catch (error) {
          if (!failed.has(source)) log.warn({ error, target: source }, 'target.resolution_failed');
          failed.add(source);
        }
      }),
    );
    if (!isStopped) found([...last.values()].flat().slice(0, MAX_FOUND));
  };
  void resolveAll();
  const stop = every(RESOLVE_MS, () => void resolveAll());
  return {
    [Symbol.dispose]: () => {
      isStopped = true;
      stop();
    },
  };
};
