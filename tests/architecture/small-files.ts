/** Files under 45 lines with one importer that stay files of their own, and why. DECISIONS.md has the rule. */
export const KEPT_SMALL_FILES: Readonly<Record<string, string>> = {
  'services/session-service/src/core/merge-patch.ts': 'a pure function (RFC 7396) with its own property test',
  'services/session-service/src/metrics.ts': 'the list of the instruments of the service',
  'services/session-service/src/postgres/queries/outbox.ts':
    'the adapter of the port that the relay test fakes',
  'services/ws-gateway/src/core/connection/stall-detector.ts':
    'a concern that is looked up by its name; the engine only calls its tick',
  'services/ws-gateway/src/core/group/message-queue.ts':
    'a bounded queue with an invariant of its own; the stream follower has 400 lines without it',
  'services/ws-gateway/src/core/group/presence-events.ts':
    'presence and join/leave messages are looked up by name, and the hub only calls them',
  'services/ws-gateway/src/core/handlers/rpc.ts': 'one file per command',
  'services/ws-gateway/src/core/handlers/unsubscribe.ts': 'one file per command',
};

/** Workspaces whose small files are still to be merged. The list only shrinks. */
export const PENDING_SMALL_FILES: readonly string[] = [
  'deploy/fleet/',
  'deploy/observability/',
  'packages/',
  'services/health-aggregator/',
];
