import { atMost, counter, gauge, histogram, STD } from './metric.ts';

const DEPENDENCIES = atMost(3, 'dependencies are those that the process checks');
const row = 'Dependencies';

/** Metrics of every process. */
export const PROCESS = {
  service_build_info: gauge('Always 1; the labels are the service and its versions.', {
    labels: {
      service: atMost(1, 'a process is one service'),
      version: atMost(1, 'a process has one version'),
      node: atMost(1, 'a process has one Node'),
    },
    panel: { row: 'Versions', by: ['service', 'version'], as: 'sum' },
  }),
  service_heap_limit_bytes: gauge('Heap limit of the process.', {
    panel: { row: 'Versions', by: ['instance'], as: 'max' },
  }),
  service_event_loop_delay_seconds: gauge(
    'Delay of the event loop that is exceeded for one percent of the time, in the last heartbeat interval.',
    {
      panel: { row: 'Event loop', by: ['instance'], as: 'max' },
    },
  ),
  service_dependency_up: gauge('1 if the last check of a dependency succeeded.', {
    labels: { dependency: DEPENDENCIES },
    panel: { row, by: ['dependency'], as: 'sum' },
  }),
  service_local_fault: gauge('1 while a process is unready because only it cannot reach the dependency.', {
    labels: { dependency: DEPENDENCIES },
    panel: { row, by: ['instance', 'dependency'], as: 'max' },
  }),
  service_dependency_check_duration_seconds: histogram('Duration of background checks.', {
    labels: { dependency: DEPENDENCIES },
    buckets: STD,
    panel: { row, by: ['dependency'] },
  }),
  service_dependency_failures_total: counter('Failed background checks.', {
    labels: {
      dependency: DEPENDENCIES,
      reason: [
        'timeout',
        'refused',
        'read_only',
        'auth',
        'permission',
        'startup_parameter',
        'wrong_database',
        'too_many_connections',
        'full',
        'schema',
        'tls',
        'unknown_host',
        'protocol',
        'other',
      ],
    },
    panel: { row, by: ['dependency', 'reason'] },
  }),
} as const;

/** Metrics of HTTP servers, named by the conventions of OpenTelemetry. */
export const HTTP = {
  http_server_request_duration_seconds: histogram('Duration of HTTP requests by route.', {
    labels: {
      http_request_method: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'other'],
      http_route: atMost(60, 'routes are templates, and a path without one is `none`'),
      http_response_status_code: atMost(20, 'statuses are those of the OpenAPI document'),
    },
    buckets: [...STD, 10],
    // Each route has one or two methods and few statuses.
    combinations: 110,
    panel: { row: 'HTTP', by: ['http_route'] },
  }),
  http_server_active_requests: gauge('HTTP requests in flight.', { panel: { row: 'HTTP', as: 'sum' } }),
  http_server_refusals_total: counter('Requests refused, by problem code.', {
    labels: { code: atMost(60, 'codes are the table of errors of the protocol') },
    panel: { row: 'HTTP', by: ['code'] },
  }),
} as const;

/** Metrics of prom-client about process and Node that alerts, dashboards or the console read. */
export const RUNTIME: Readonly<Record<string, readonly string[]>> = {
  process_cpu_seconds_total: [],
  process_resident_memory_bytes: [],
  process_open_fds: [],
  process_start_time_seconds: [],
  nodejs_heap_size_total_bytes: [],
  nodejs_heap_size_used_bytes: [],
  nodejs_gc_duration_seconds: ['kind'],
};
