import type { Logger } from '@muster/kit/logger';
import { CloseCode, ReplyError } from '@muster/protocol/codes';
import type { ClientCommand } from '@muster/protocol/commands';
import { AppError } from '@muster/protocol/errors';
import { isTooLarge } from '../group/publication-size.ts';
import type { EngineMetrics } from '../ports.ts';
import { mustYield } from './command-pacing.ts';
import type { Connection } from './connection.ts';
import type { Handlers } from './handlers.ts';

/** From frames to handlers, in the order in which each client asked. */
export interface Dispatcher {
  receive(connection: Connection, frame: string | Buffer): void;
}

/** Commands of one connection that wait or are under way before its socket is read no further, and when it is again. */
const PAUSE_AT = 128;
const RESUME_AT = 32;
export const createDispatcher = ({
  handlers,
  metrics,
  log,
  maxMessageBytes,
}: {
  readonly maxMessageBytes: number;
  readonly handlers: Handlers;
  readonly metrics: EngineMetrics;
  readonly log: Logger;
}): Dispatcher => {
  /** Starts what can be started. A command that must wait holds all later ones back. */
  const proceed = (connection: Connection): void => {
    const { waiting } = connection;
    let done = 0;
    for (const command of waiting) {
      if (mustWait(connection, command) || mustYield(connection, command, proceed)) break;
      done += 1;
      connection.turn.commands += 1;
      start(connection, command);
      if (connection.isOver) return;
    }
    waiting.splice(0, done);
    regulate(connection);
  };

  const start = (connection: Connection, command: ClientCommand): void => {
    metrics.received(command.is);
    const violation = violationOf(connection, command);
    if (violation !== undefined) {
      connection.refuse(violation);
      return;
    }
    const isFree = command.is === 'connect' || command.is === 'pong';
    if (!isFree && !connection.mayAsk()) {
      connection.fail(command.id, ReplyError.TooManyRequests);
      return;
    }
    const work = perform(handlers, connection, command);
    if (work === undefined) return;
    work
      .catch((error: unknown) => onFailure(connection, command, error))
      .finally(() => {
        if (!connection.isOver) proceed(connection);
      });
  };

  const onFailure = (connection: Connection, command: ClientCommand, error: unknown): void => {
    if (connection.isOver) return;
    if (error instanceof AppError && error.code === 'REDIS_UNAVAILABLE') {
      connection.fail(command.id, ReplyError.Internal);
      return;
    }
    if (isTooLarge(error)) {
      connection.fail(command.id, ReplyError.BadRequest, error.detail);
      return;
    }
    log.error({ error, command: command.is }, 'gateway.command_failed');
    connection.close(CloseCode.InternalError);
  };

  return {
    receive: (connection, frame) => {
      const bytes = Buffer.byteLength(frame);
      metrics.receivedBytes(bytes);
      if (bytes > maxMessageBytes && connection.codec.hasLonger(frame, maxMessageBytes)) {
        metrics.refused('too_big');
        return connection.close(CloseCode.TooBig);
      }
      const decoded = connection.codec.decode(frame);
      if (!decoded.ok) return connection.refuse(decoded.why);
      const idle = connection.waiting.length === 0;
      for (const command of decoded.commands) connection.waiting.push(command);
      if (idle) proceed(connection);
      else regulate(connection);
    },
  };
};

/** What every command must satisfy, in the order of PROTOCOL.md §4.1. */
const violationOf = ({ phase }: Connection, command: ClientCommand): string | undefined => {
  if (phase.is !== 'live' && command.is !== 'connect') return 'not_connected';
  if (command.is === 'pong') return undefined;
  if (command.id === 0 && command.is !== 'send') return 'no_id';
  if (command.is === 'unknown') return 'unknown_method';
  return undefined;
};

const mustWait = ({ phase, memberships }: Connection, command: ClientCommand): boolean => {
  if (phase.is === 'connecting') return true;
  // A second subscribe is answered at once (105); everything else about a group waits for its subscribe.
  if (command.is === 'subscribe' || !('channel' in command)) return false;
  return memberships.get(command.channel)?.is === 'joining';
};

const perform = (
  handlers: Handlers,
  connection: Connection,
  command: ClientCommand,
): Promise<void> | undefined => {
  switch (command.is) {
    case 'connect':
      return handlers.connect(connection, command);
    case 'subscribe':
      return handlers.subscribe(connection, command);
    case 'unsubscribe':
      handlers.unsubscribe(connection, command);
      return undefined;
    case 'publish':
      return handlers.publish(connection, command);
    case 'history':
      return handlers.history(connection, command);
    case 'pong':
      connection.pong();
      return undefined;
    case 'send':
      connection.close(CloseCode.NotAvailable);
      return undefined;
    case 'presence':
    case 'presence_stats':
      return handlers.presence(connection, command);
    case 'rpc':
      return handlers.rpc(connection, command);
    case 'refresh':
      return handlers.refresh(connection, command);
    case 'sub_refresh':
      return handlers.subRefresh(connection, command);
    case 'unknown':
      return undefined; // Refused before.
    default:
      return command satisfies never;
  }
};

/** A client that asks faster than it can be served is read more slowly, so nothing piles up here. */
const regulate = (connection: Connection): void => {
  const load = connection.waiting.length + connection.publishing;
  if (!connection.isPaused && load > PAUSE_AT) connection.pause();
  else if (connection.isPaused && load < RESUME_AT) connection.resume();
};
