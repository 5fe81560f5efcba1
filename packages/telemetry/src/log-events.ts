/** Levels of log lines, in rising order of severity. */
export type EventLevel = 'debug' | 'info' | 'warn' | 'error';

/** A log event: the levels it is written at, and its meaning in one sentence. */
export interface LogEventEntry<L extends EventLevel = EventLevel> {
  readonly levels: readonly L[];
  readonly meaning: string;
}

const at =
  <const L extends EventLevel>(...levels: readonly L[]) =>
  (meaning: string): LogEventEntry<L> => ({ levels, meaning });

const debug = at('debug');
const info = at('info');
const warn = at('warn');
const error = at('error');

const TABLE = {
  // Every process
  'process.started': info('The service is up: dependencies were checked and the ports are open.'),
  'process.draining': info('A signal started the shutdown; `signal` names it.'),
  'process.stopped': info('The shutdown ended; `late` is true if it exceeded DRAIN_TIMEOUT_MS.'),
  'process.killed': warn('A second signal ended the process without waiting for the drain.'),
  'process.start_failed': error('The service could not start; the process exits with code 1.'),
  'process.stop_failed': error('The drain or the disposal threw; the process exits with code 1.'),
  'process.reload_failed': error('SIGHUP: the new configuration is invalid; the current one stays in use.'),
  'process.unhandled_rejection': error('A rejected promise had no handler; the process continues.'),
  'process.uncaught_exception': error('An exception had no handler; the process exits with code 1.'),
  'dependency.up': info('A check of a dependency succeeds again.'),
  'dependency.down': warn('A check of a dependency fails, or fails for another reason than before.'),
  'health.local_fault': warn('Only this process cannot reach the dependency: it leaves the load balancer.'),
  'health.local_fault_resolved': warn('The local fault ended: this process may serve again.'),
  'ops.request_failed': error('A request to the ops port failed with 500.'),
  'http.request_failed': error('A request failed with 500; the cause is in `error`.'),
  'http.request_refused': at(
    'info',
    'debug',
  )('A request was refused; `reason` is the problem code. 503 is written at level debug.'),

  // Registry
  'heartbeat.interrupted': warn('A heartbeat could not be written to Redis.'),
  'heartbeat.resumed': info('Heartbeats are written again.'),
  'heartbeat.failed': error('A heartbeat failed for a reason other than an unavailable Redis.'),
  'heartbeat.superseded': warn('A newer process has registered under the address of this process.'),
  'heartbeat.directive_received': warn('An operator requested this process to drain or to resume.'),

  // Redis and Postgres
  'redis.connection_failed': warn('A Redis connection was lost or could not be established.'),
  'redis.connection_restored': info('A lost Redis connection is ready again.'),
  'postgres.connection_held': warn('A connection has been checked out for more than 10 s; `holder` took it.'),
  'postgres.connection_cut': error('A connection was checked out for more than 60 s and was closed.'),
  'postgres.idle_connection_lost': debug('The server closed an idle connection of the pool.'),
  'postgres.no_statement_timeout': warn('The role has no statement_timeout and the pooler does not pass one.'),
  'database.migrated': info('Schema migrations were applied; `applied` lists them.'),
  'database.migration_failed': warn('The schema could not be migrated or checked; it is tried again.'),
  'database.connection_budget': info(
    'The connections of all replicas fit into max_connections; `sum` is their number.',
  ),
  'database.connection_count_failed': debug('Postgres or Redis did not return its connection counts.'),

  // Session bus
  'session.bus_silent': warn('No heartbeat arrived on the session bus for 3 s; the subscription is reopened.'),
  'session.bus_reachable': info('Heartbeats arrive on the session bus again.'),
  'session.bus_subscribe_failed': warn('The subscription to the session bus failed; it is tried again.'),
  'session.bus_subscribed': info('The subscription to the session bus is active again.'),
  'session.bus_catch_up_failed': warn('Missed changes could not be read from the change stream.'),
  'session.bus_caught_up': info('Missed changes were read from the change stream.'),
  'session.bus_lost': warn('Changes were missed and are no longer in the stream; every session is checked again.'),
  'session.bus_replayed': warn('Redis lost the change stream; recent changes were published again from Postgres.'),
  'session.bus_heartbeat_failed': debug('A heartbeat of the session bus could not be published.'),

  // Sessions
  'session_service.ready': info('The session service listens on `port` and `opsPort`.'),
  'session_service.reloaded': info('SIGHUP: the signing keys were read again.'),
  'session.source_failed': debug('The session service did not answer a check.'),
  'session.snapshot_failed': debug('A session snapshot could not be read from Redis.'),
  'session.confirm_failed': debug('The use of a rotated secret could not be recorded.'),
  'session.cache_write_failed': debug('A session snapshot could not be written to Redis.'),
  'session.touch_failed': debug('Session activity could not be recorded; it is kept and tried again.'),
  'session.touch_unreadable': debug('Recent session activity could not be read from Redis.'),
  'session.expiry_sweep_failed': debug('A pass that ends expired sessions and deletes ended sessions failed.'),
  'session.addresses_rewritten': info('Stored addresses were made as strict as SESSION_IP_MODE.'),
  'session.guest_refused': info('A guest session was refused by a limit; written once per second and limit.'),
  'session.reuse_detected': warn('A superseded session secret was presented; `action` is the response.'),
  'session.reuse_record_failed': warn('The reuse of a secret could not be written to the audit log.'),
  'session.impersonations_end_failed': debug('Impersonations of an ended session could not be ended with it.'),
  'session.signing_key_record_failed': debug('The first use of a signing key could not be recorded in Redis.'),
  'session.legacy_import_failed': debug('A session of express-session was not imported; `why` is the reason.'),
  'session.propagation_pending': warn('A committed change was not published; the outbox relay publishes it later.'),
  'outbox.relayed': info('The relay published changes that were pending in the outbox.'),
  'outbox.relay_failed': debug('The outbox could not be read.'),
  'outbox.delivery_failed': debug('An outbox row could not be published; it is tried again.'),
  'outbox.remove_failed': debug('A published outbox row could not be deleted; it is published once more.'),
  'api_key.touch_failed': debug('The last use of an API key could not be recorded.'),
  'oidc.jwks_fetch_failed': warn('The JWKS of an issuer could not be fetched.'),
  'oidc.token_release_failed': debug('An unused token could not be released for another attempt.'),

  // Bus and presence
  'bus.unreachable': warn('Messages that this gateway publishes do not return to it; the link is reopened.'),
  'bus.reachable': info('Messages that this gateway publishes return to it again.'),
  'bus.subscribe_failed': warn('Redis channels could not be subscribed; it is tried again.'),
  'bus.subscribed': info('The Redis channels are subscribed again.'),
  'bus.reply_failed': warn('A reply to another gateway could not be published.'),
  'presence.renew_failed': debug('The presence lease of this gateway could not be renewed.'),
  'presence.sweep_failed': debug('Presence of lost gateways could not be removed.'),

  // Gateway
  'gateway.ready': info('The gateway listens on `port` and `opsPort`.'),
  'gateway.warmed_up': info('The warm-up before the port opens has ended; `clients` connected to it.'),
  'gateway.warm_up_skipped': warn('Redis did not answer, or the warm-up failed: the first clients cost more CPU time.'),
  'gateway.reloaded': info('SIGHUP: keys and group options were read again.'),
  'gateway.groups_loaded': info('GROUPS_FILE was read; `closed` lists namespaces that no client may use.'),
  'gateway.groups_open': warn('Without GROUPS_FILE every client may subscribe and publish to every group.'),
  'gateway.resume_failed': error(
    'The shared port was taken while this gateway drained. It stays unready until it is restarted.',
  ),
  'gateway.handshake_failed': error('A WebSocket upgrade failed with 500.'),
  'gateway.handshake_refused': info('A WebSocket upgrade was refused; `reason` is the cause.'),
  'gateway.connect_refused': info('The credential of a `connect` command was refused; `reason` is the cause.'),
  'gateway.api_refused': info('A call of the server API had no valid key or form.'),
  'gateway.api_call_failed': info('A call of the server API was answered with an error.'),
  'gateway.api_failed': error('A call of the server API failed with an internal error.'),
  'gateway.command_failed': error('A client command failed with an internal error.'),
  'gateway.limit_reached': info('A limit refused a client; written once per 10 s and limit.'),
  'gateway.publication_too_large': info('A publication exceeded MAX_PUBLICATION_BYTES.'),
  'gateway.presence_event_failed': debug('A join or leave event could not be published.'),
  'gateway.recovery_failed': debug('Missed publications of a group could not be read from Redis.'),
  'gateway.position_check_failed': debug('Stream positions could not be compared with Redis.'),
  'gateway.rebalanced': info('Connections were moved to other gateways; `requested` is the number of the directive.'),
  'gateway.rebalance_failed': warn('Connections could not be moved to other gateways.'),
  'session.presence_failed': debug('The open connections of a session could not be recorded.'),
  'session.revalidation_failed': warn('A periodic check of the sessions of open connections failed.'),
  'session.ticket_failed': debug('A connection ticket could not be redeemed.'),
  'token.check_failed': error('A JWT could not be verified because of an internal error.'),
  'callback.failed': debug('A callback to the application failed or timed out.'),
  'callback.invalid_response': warn('The application answered a callback in an unexpected form.'),

  // Health aggregator
  'aggregator.ready': info('The aggregator listens on `port` and `opsPort`.'),
  'instance.changed': at('info', 'warn')('The status of an instance changed; a worse status is a warning.'),
  'leader.elected': info('This aggregator became the leader.'),
  'leader.lost': warn('This aggregator is no longer the leader.'),
  'leader.task_failed': debug('A periodic task of the leader failed; it is run again.'),
  'incident.changed': warn('An incident was opened, updated or closed; `kind` is the change.'),
  'incident.kept_in_memory': warn('An incident could not be written to Redis; it is kept and written later.'),
  'synthetic_check.passed': info('The synthetic check succeeds, for the first time or again.'),
  'synthetic_check.failed': warn('The synthetic check fails at `step`.'),
  'synthetic_check.share_failed': debug('The result of the synthetic check could not be shared through Redis.'),
  'uptime_history.write_failed': debug('Uptime history could not be written; it is tried again.'),
  'consensus.withdrawal_granted': info('An instance with a local fault was allowed to leave the load balancer.'),
  'registry.unreachable': warn('The registry cannot be read because Redis is unavailable.'),
  'registry.read_failed': warn('The registry could not be read for a reason other than an unavailable Redis.'),
  'registry.reachable': info('The registry can be read again.'),
  'target.resolution_failed': warn('An entry of TARGETS could not be resolved.'),
  'webhook.dropped': error('A webhook was not delivered within its retries and was dropped.'),
  'webhook.queue_unreadable': debug('The queue of webhooks could not be read from Redis.'),
  'rebalance.decided': info('Gateways were requested to move clients; `gateways` has the number of each.'),
  'rebalance.ineffective': warn(
    'Moves did not reduce the imbalance, for example because of a load balancer that pins clients.',
  ),
  'rebalance.failed': warn('The requests to move clients could not be written to Redis.'),
  'kubernetes.pod_patch_failed': warn('The deletion cost of a pod could not be written; `result` is the reason.'),
  'kubernetes.pod_patch_recovered': info('The deletion costs of all pods were written again.'),
  'operator.directive': warn('An operator drained or resumed an instance.'),
  'operator.incident_noted': warn('An operator wrote to an incident: a note, an acknowledgement or a closure.'),
  'operator.published': warn('An operator published to a group.'),
  'operator.signed_out': warn('An operator ended a session, or all sessions of a user.'),
  'operator.tail_token_issued': warn('An operator received a token to tail a group for 60 s.'),
  'operator.upstream_failed': debug('A service did not answer a request of an operator.'),
  'operator.key_refused': error('A service refused the API key of the aggregator; `variable` names it.'),
  'operator.socket_lookup_failed': debug('The sockets of a session could not be requested from the gateways.'),
} as const;

type Table = typeof TABLE;

/** Every log event of Muster by its name. */
export const LOG_EVENTS: Readonly<Record<keyof Table, LogEventEntry>> = TABLE;

/** Names of the events that may be written at a level. */
export type LogEvent<L extends EventLevel = EventLevel> = {
  [N in keyof Table]: L extends Table[N]['levels'][number] ? N : never;
}[keyof Table];
