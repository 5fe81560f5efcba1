import type { ProxyPlan, UpstreamsByDns } from './haproxy.ts';

/** Where our images listen. */
const PORT = 8080;
/** Slots for replicas; more than run there stay empty and cost nothing. */
const GATEWAY_SLOTS = 40;
const OTHER_SLOTS = 20;

/** Names are asked for where the system asks; metrics and the health of the proxy itself are for the inside. */
const SECTIONS = `resolvers dns
  parse-resolv-conf
  accepted_payload_size 8192
  resolve_retries 3
  timeout resolve 1s
  timeout retry 1s
  hold valid 2s
  # A replica whose name is gone for a moment is judged by its health checks, not by DNS.
  hold obsolete 10s
  hold nx 10s
  hold other 10s
  hold refused 10s
  hold timeout 30s

frontend inside
  bind :8404
  monitor-uri /healthz
  http-request use-service prometheus-exporter if { path /metrics }
  http-request return status 404`;

/** Empty in Docker, where a service's name is enough; in Kubernetes the rest of the name of a headless Service. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: HAProxy fills it from its own environment.
const DOMAIN = '${MUSTER_DOMAIN}';

const byDns = (host: string, count: number): UpstreamsByDns => ({
  name: `${host}-`,
  host: `${host}${DOMAIN}`,
  port: PORT,
  count,
});

/** HAProxy in front of services that are names with many addresses, as in Docker and Kubernetes. */
export const containerProxyPlan = (): ProxyPlan => ({
  bind: ':8080',
  sections: SECTIONS,
  gateways: [byDns('ws-gateway', GATEWAY_SLOTS)],
  sessionServices: [byDns('session-service', OTHER_SLOTS)],
  aggregators: [byDns('health-aggregator', OTHER_SLOTS)],
});
