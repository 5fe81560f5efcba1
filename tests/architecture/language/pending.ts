/**
 * Paths whose names and texts still follow the old wording. The list only shrinks, and is empty when the change of
 * wording is complete. `npm run language -- PATH` lists what is left in a path.
 */
export const PENDING: readonly string[] = [
  ...[
    'deploy/fleet/',
    'deploy/observability/',
    'deploy/prometheus/',
    'deploy/grafana/',
    'deploy/docker/SPEC.md',
  ],
  ...['bus', 'cli', 'client', 'http', 'kit', 'local', 'protocol', 'session', 'telemetry', 'testkit'].map(
    (name) => `packages/${name}/`,
  ),
  ...['services/health-aggregator/', 'services/session-service/'],
  ...['services/ws-gateway/src/', 'services/ws-gateway/README.md'],
  ...['aggregator', 'bench', 'cli', 'client', 'conformance', 'contract', 'documents', 'kit', 'launcher'].map(
    (name) => `tests/${name}/`,
  ),
  ...['tests/observability/', 'tests/session/'],
];

/** The same for comments: `npm run language -- --comments PATH`. */
export const PENDING_COMMENTS: readonly string[] = [
  ...['deploy/', 'packages/', 'services/'],
  ...['aggregator', 'bench', 'browser', 'chaos', 'cli', 'client', 'cluster', 'compose', 'conformance'].map(
    (name) => `tests/${name}/`,
  ),
  ...['contract', 'documents', 'gateway', 'kit', 'launcher', 'observability', 'session', 'tour'].map(
    (name) => `tests/${name}/`,
  ),
];
