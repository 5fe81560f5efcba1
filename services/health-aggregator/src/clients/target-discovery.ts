import { lookup, resolveSrv } from 'node:dns/promises';
import { isIP } from 'node:net';
import { every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { DiscoveredTarget } from '../core/unregistered-instances.ts';

const RESOLVE_MS = 10_000;
const MAX_FOUND = 500;
const ENTRY = /^([a-z0-9-]{1,64})=(?:(srv):([\w.-]{1,253})|(\[[0-9a-f:.]+\]|[\w.-]{1,253}):(\d{1,5}))$/i;

/** Where instances of a service should be: an address, a name with one or many addresses, or an SRV record. */
export type TargetSource =
  | { readonly service: string; readonly by: 'host'; readonly host: string; readonly port: number }
  | { readonly service: string; readonly by: 'srv'; readonly name: string };

/** Reads `service=host:port` or `service=srv:name`; undefined for anything else. */
export const parseTargetSource = (text: string): TargetSource | undefined => {
  const [, service, srv, name, host, port] = ENTRY.exec(text) ?? [];
  if (service === undefined) return undefined;
  if (srv !== undefined) return { service, by: 'srv', name: name ?? '' };
  const number = Number(port);
  if (number < 1 || number > 65_535) return undefined;
  return { service, by: 'host', host: (host ?? '').replace(/^\[|\]$/g, ''), port: number };
};

/** Follows a lead; rejects when a name does not resolve. */
export const resolveTargetSource = async (lead: TargetSource): Promise<DiscoveredTarget[]> => {
  const { service } = lead;
  if (lead.by === 'host') {
    const addresses = isIP(lead.host)
      ? [lead.host]
      : (await lookup(lead.host, { all: true })).map(({ address }) => address);
    return addresses.map((address) => ({ service, address: at(address, lead.port) }));
  }
  const records = await resolveSrv(lead.name);
  const found = records.map(({ name, port }) =>
    resolveTargetSource({ service, by: 'host', host: name, port }),
  );
  return (await Promise.all(found)).flat();
};

const at = (address: string, port: number): string =>
  isIP(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;

/** Follows all leads now and every ten seconds; a name that does not resolve keeps what it led to before. Disposing stops it. */
export const discoverTargets = (
  leads: readonly TargetSource[],
  { found, log }: { readonly found: (targets: readonly DiscoveredTarget[]) => void; readonly log: Logger },
): Disposable => {
  if (leads.length === 0) return { [Symbol.dispose]: () => {} };
  const last = new Map<TargetSource, readonly DiscoveredTarget[]>();
  const lost = new Set<TargetSource>();
  let isStopped = false;

  const search = async (): Promise<void> => {
    await Promise.all(
      leads.map(async (lead) => {
        try {
          last.set(lead, await resolveTargetSource(lead));
          lost.delete(lead);
        } catch (error) {
          if (!lost.has(lead)) log.warn({ error, lead }, 'target.resolution_failed');
          lost.add(lead);
        }
      }),
    );
    if (!isStopped) found([...last.values()].flat().slice(0, MAX_FOUND));
  };
  void search();
  const stop = every(RESOLVE_MS, () => void search());
  return {
    [Symbol.dispose]: () => {
      isStopped = true;
      stop();
    },
  };
};
