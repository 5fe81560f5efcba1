import { connect, createServer, type Server, type Socket } from 'node:net';
import { openNameServer } from '../launcher/name-server.ts';
import type { KubernetesClient, KubernetesObject } from './kubernetes-client.ts';

const CONNECT_TIMEOUT_MS = 1_000;

interface Service extends KubernetesObject {
  readonly spec: {
    readonly clusterIP?: string;
    readonly ports?: readonly { readonly name?: string; readonly port: number }[];
  };
}
interface EndpointSlice extends KubernetesObject {
  readonly ports: readonly { readonly name?: string; readonly port: number }[] | null;
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly conditions: { readonly ready?: boolean; readonly serving?: boolean };
  }[];
}

/** DNS and Services of a cluster whose addresses are mapped to loopback. Disposing it closes all listeners. */
export interface ClusterNetwork extends AsyncDisposable {
  readonly serviceNetwork: string;
  /** Port of the name server at 127.0.0.1. */
  readonly dnsPort: number;
  /** A new address of a pod, as the API shows it. */
  nextPodAddress(): string;
  /** Number of ready endpoints of a Service. */
  readyEndpoints(service: string, namespace: string): number;
  /** URLs of a text with the names of Services replaced by their addresses. */
  resolved(text: string, namespace: string): string;
}

/** Address at which a pod or Service with an address of the cluster listens: EndpointSlices reject loopback addresses. */
export const loopbackOf = (address: string): string => address.replace(/^10\./, '127.');

/** Serves names and cluster IPs as DNS and kube-proxy of a cluster do, from the EndpointSlices of its controllers. */
export const openClusterNetwork = async (
  octet: number,
): Promise<ClusterNetwork & { follow(client: KubernetesClient): void }> => {
  const services = new Map<string, Service>();
  const slices = new Map<string, EndpointSlice>();
  const listeners = new Map<string, Server>();
  const sockets = new Set<Socket>();
  const stopped = new AbortController();
  const keyOf = ({ metadata }: KubernetesObject): string => `${metadata.name}.${metadata.namespace}`;

  const endpointsOf = (service: string) =>
    [...slices.values()]
      .filter(({ metadata }) => `${metadata.labels?.['kubernetes.io/service-name']}.${metadata.namespace}` === service)
      .flatMap(({ endpoints, ports }) => (endpoints ?? []).map((endpoint) => ({ ...endpoint, ports: ports ?? [] })));
  const readyOf = (service: string) => endpointsOf(service).filter(({ conditions }) => conditions.ready !== false);

  /** A connection goes to a random ready endpoint. */
  const forward = (service: string, portName: string | undefined, socket: Socket): void => {
    sockets.add(socket);
    const ready = readyOf(service);
    const endpoint = ready[Math.floor(Math.random() * ready.length)];
    const port = endpoint?.ports.find(({ name }) => (name ?? '') === (portName ?? ''))?.port;
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    if (endpoint === undefined || port === undefined) return void socket.destroy();
    const upstream = connect({ host: loopbackOf(endpoint.addresses[0] ?? ''), port, timeout: CONNECT_TIMEOUT_MS });
    upstream.once('connect', () => upstream.setTimeout(0));
    for (const event of ['error', 'timeout', 'close']) upstream.on(event, () => socket.destroy());
    socket.on('close', () => upstream.destroy());
    socket.pipe(upstream).pipe(socket);
  };
  const listen = (service: Service): void => {
    const { clusterIP = 'None', ports = [] } = service.spec;
    if (clusterIP === 'None') return;
    for (const { name, port } of ports) {
      const key = `${clusterIP}:${port}`;
      if (listeners.has(key)) continue;
      const server = createServer((socket) => forward(keyOf(service), name, socket));
      listeners.set(key, server.listen(port, loopbackOf(clusterIP)));
    }
  };

  const addressesOf = (name: string): string[] => {
    const [, service = ''] = /^([^.]+\.[^.]+)\.svc\.cluster\.local$/.exec(name) ?? [];
    const { clusterIP } = services.get(service)?.spec ?? {};
    if (clusterIP !== undefined && clusterIP !== 'None') return [loopbackOf(clusterIP)];
    return readyOf(service).flatMap(({ addresses }) => addresses.map(loopbackOf));
  };
  const dns = await openNameServer(addressesOf);

  let pods = 0;
  return {
    serviceNetwork: `10.${octet}.128.0/20`,
    dnsPort: dns.port,
    nextPodAddress: () => {
      pods += 1;
      return `10.${octet}.${pods >> 7}.${(pods & 0x7f) + 1}`;
    },
    readyEndpoints: (service, namespace) => readyOf(`${service}.${namespace}`).length,
    resolved: (text, namespace) =>
      text.replaceAll(/(:\/\/)([a-z0-9-]+)(?=:\d)/g, (whole, scheme, name) => {
        const { clusterIP = 'None' } = services.get(`${name}.${namespace}`)?.spec ?? {};
        return clusterIP === 'None' ? whole : `${scheme}${loopbackOf(clusterIP)}`;
      }),
    follow: (client) => {
      client.watch<Service>('/api/v1/services', stopped.signal, ({ type, object }) => {
        if (type === 'DELETED') services.delete(keyOf(object));
        else services.set(keyOf(object), object);
        if (type !== 'DELETED') listen(object);
      });
      client.watch<EndpointSlice>(SLICES, stopped.signal, ({ type, object }) => {
        if (type === 'DELETED') slices.delete(keyOf(object));
        else slices.set(keyOf(object), object);
      });
    },
    [Symbol.asyncDispose]: async () => {
      stopped.abort();
      for (const socket of sockets) socket.destroy();
      await Promise.all([...listeners.values()].map((server) => new Promise((resolve) => server.close(resolve))));
      dns[Symbol.dispose]();
    },
  };
};

const SLICES = '/apis/discovery.k8s.io/v1/endpointslices';
