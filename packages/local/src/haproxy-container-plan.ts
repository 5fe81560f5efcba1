import type { ProxyPlan, UpstreamsByDns } from './haproxy.ts';

/** Port of the services in the images. */
const PORT = 8080;
/** Slots for replicas; unused slots cost nothing. */
const GATEWAY_SLOTS = 40;
const OTHER_SLOTS = 20;

/** DNS of the system, and an internal listener for metrics and health of the load balancer. */
const SECTIONS = `resolvers dns
  parse-resolv-conf
  accepted_payload_size 8192
  resolve_retries 3
  timeout resolve 1s
  timeout retry 1s
  hold valid 2s
  # A replica whose name is briefly missing in DNS keeps its slot; health checks decide.
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

/** Empty in Docker; in Kubernetes the domain of the headless Services. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: HAProxy expands it from its environment.
const DOMAIN = '${MUSTER_DOMAIN}';

const byDns = (host: string, count: number): UpstreamsByDns => ({
  name: `${host}-`,
  host: `${host}${DOMAIN}`,
  port: PORT,
  count,
});

/** Plan for Docker and Kubernetes, where a DNS name has the addresses of all replicas. */
export const containerProxyPlan = (): ProxyPlan => ({
  bind: ':8080',
  sections: SECTIONS,
  gateways: [byDns('ws-gateway', GATEWAY_SLOTS)],
  sessionServices: [byDns('session-service', OTHER_SLOTS)],
  aggregators: [byDns('health-aggregator', OTHER_SLOTS)],
});
