/** Files under 45 lines with one importer that stay files of their own, and why. DECISIONS.md has the rule. */
export const KEPT_SMALL_FILES: Readonly<Record<string, string>> = {
  'deploy/observability/src/files.ts': 'the list of generated files, which its test compares',
  'deploy/observability/src/slo-runbooks.ts': 'one file per generated document',
  'packages/bus/src/epochs.ts': 'a source of unique names for streams',
  'packages/bus/src/read-coalescing.ts': 'a queue with a unit test',
  'packages/client/src/quiet-globals.ts': 'a workaround for the SDK in Node, to be removed as a whole',
  'packages/http/src/probes.ts': 'public module of the package',
  'packages/kit/src/redis/auto-cork.ts': 'the only access to internals of a socket',
  'packages/session/src/single-flight.ts': 'a cache with a unit test',
  'packages/telemetry/src/runtime.ts': 'one file per subject of the catalogue',
  'packages/testkit/src/docker.ts': 'the only use of the Docker socket',
  'services/health-aggregator/src/console/playground/playground.tsx':
    'a page that is loaded when it is opened',
  'services/health-aggregator/src/core/drain-policy.ts': 'a rule of core, called by a route',
  'services/health-aggregator/src/http/operator-guard.ts': 'authentication of operators',
  'services/health-aggregator/src/http/uptime-route.ts': 'one file per resource',
  'services/session-service/src/core/merge-patch.ts': 'a pure function (RFC 7396) with its own property test',
  'services/session-service/src/metrics.ts': 'the list of the instruments of the service',
  'services/session-service/src/postgres/queries/outbox.ts':
    'the adapter of the port that the relay test fakes',
  'services/ws-gateway/src/core/connection/stall-detector.ts':
    'a concern that is looked up by its name; the engine only calls its tick',
  'services/ws-gateway/src/core/group/follower-queue.ts':
    'a bounded queue with an invariant of its own; the stream follower has 400 lines without it',
  'services/ws-gateway/src/core/group/presence-events.ts':
    'presence and join/leave messages are looked up by name, and the hub only calls them',
  'services/ws-gateway/src/core/handlers/rpc.ts': 'one file per command',
  'services/ws-gateway/src/core/handlers/unsubscribe.ts': 'one file per command',
};

/** Workspaces whose small files are still to be merged. The list only shrinks. */
export const PENDING_SMALL_FILES: readonly string[] = [
  ...['bus', 'cli', 'client', 'http', 'protocol', 'session', 'telemetry'].map((name) => `packages/${name}/`),
];
