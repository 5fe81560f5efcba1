import type { Logger } from '@muster/kit/logger';
import { CloseCode, ReplyError } from '@muster/protocol/codes';
import type { ClientCommand } from '@muster/protocol/commands';
import { AppError } from '@muster/protocol/errors';
import { isTooLarge } from '../group/publication-size.ts';
import type { MaybePromise } from '../maybe-promise.ts';
import type { EngineMetrics } from '../ports.ts';
import type { Connection } from './connection.ts';

/** Performs a command. A promise: the reply follows later; the dispatcher translates its rejection. */
type Handler<Command> = (connection: Connection, command: Command) => MaybePromise<void>;

/** One handler per method. */
export type Handlers = {
  readonly [Is in Exclude<ClientCommand['is'], 'pong' | 'send' | 'unknown'>]: Handler<
    ClientCommand & { readonly is: Is }
  >;
};

/** Queued and pending commands of one connection above which its socket is paused, and below which it is resumed. */
const PAUSE_AT = 128;
const RESUME_AT = 32;
/** Commands of one connection started in one turn of the event loop. */
const COMMANDS_PER_TURN = 64;
/** Bytes of pending publications of one connection above which its next publication waits. */
const MAX_PENDING_PUBLISH_BYTES = 262_144;

export interface DispatcherDeps {
  readonly maxMessageBytes: number;
  readonly handlers: Handlers;
  readonly metrics: EngineMetrics;
  readonly log: Logger;
}

/** Dispatches the commands of each client to their handlers, in order. */
export const createDispatcher = ({ handlers, metrics, log, maxMessageBytes }: DispatcherDeps) => {
  /** Starts queued commands. A command that must wait blocks all later commands. */
  const proceed = (connection: Connection): void => {
    const { waiting } = connection;
    let done = 0;
    for (const command of waiting) {
      if (mustWait(connection, command) || mustYield(connection, command, proceed)) break;
      done += 1;
      connection.turn.commands += 1;
      start(connection, command);
      if (connection.isClosed) return;
    }
    waiting.splice(0, done);
    regulate(connection);
  };

  const start = (connection: Connection, command: ClientCommand): void => {
    metrics.received(command.is);
    const violation = violationOf(connection, command);
    if (violation !== undefined) {
      connection.rejectInput(violation);
      return;
    }
    const isUnlimited = command.is === 'connect' || command.is === 'pong';
    if (!isUnlimited && !connection.takeCommand()) {
      connection.fail(command.id, ReplyError.TooManyRequests);
      return;
    }
    const work = attempt(connection, command);
    if (!(work instanceof Promise)) return;
    // Its reply shares a write with those of the subscribe commands in the same frame.
    const sharesWrite = command.is === 'connect' && connection.waiting.length > 1;
    if (sharesWrite) connection.sendBuffer.startCommand();
    const settle = (): void => {
      if (!connection.isClosed) proceed(connection);
      if (sharesWrite) connection.sendBuffer.endCommand();
    };
    work.then(settle, (error: unknown) => {
      onFailure(connection, command, error);
      settle();
    });
  };

  const attempt = (connection: Connection, command: ClientCommand): MaybePromise<void> => {
    try {
      return perform(handlers, connection, command);
    } catch (error) {
      onFailure(connection, command, error);
    }
  };

  const onFailure = (connection: Connection, command: ClientCommand, error: unknown): void => {
    if (connection.isClosed) return;
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

  return (connection: Connection, frame: string | Buffer) => {
    const bytes = Buffer.byteLength(frame);
    metrics.receivedBytes(bytes);
    if (bytes > maxMessageBytes && connection.codec.hasLonger(frame, maxMessageBytes)) {
      metrics.refused('too_big');
      return connection.close(CloseCode.TooBig);
    }
    const decoded = connection.codec.decode(frame);
    if (!decoded.ok) return connection.rejectInput(decoded.why);
    const idle = connection.waiting.length === 0;
    for (const command of decoded.commands) connection.waiting.push(command);
    if (idle) proceed(connection);
    else regulate(connection);
  };
};

/** Violation of the rules for all commands, in the order of PROTOCOL.md §4.1. */
const violationOf = ({ phase }: Connection, command: ClientCommand): string | undefined => {
  if (phase.is !== 'live' && command.is !== 'connect') return 'not_connected';
  if (command.is === 'pong') return undefined;
  if (command.id === 0 && command.is !== 'send') return 'no_id';
  if (command.is === 'unknown') return 'unknown_method';
  return undefined;
};

const mustWait = ({ phase, memberships }: Connection, command: ClientCommand): boolean => {
  if (phase.is === 'connecting') return true;
  // A second subscribe is answered at once (105); other commands for a group wait for its subscribe.
  if (command.is === 'subscribe' || !('channel' in command)) return false;
  return memberships.get(command.channel)?.is === 'joining';
};

const perform = (handlers: Handlers, connection: Connection, command: ClientCommand): MaybePromise<void> => {
  switch (command.is) {
    case 'pong':
      connection.pong();
      return undefined;
    case 'send':
      connection.close(CloseCode.NotAvailable);
      return undefined;
    case 'unknown':
      return undefined; // Rejected before.
    default:
      return (handlers[command.is] as Handler<ClientCommand>)(connection, command);
  }
};

/** Pauses the socket of a client that sends faster than its commands are performed. */
const regulate = (connection: Connection): void => {
  const load = connection.waiting.length + connection.pendingReplies;
  if (!connection.isPaused && load > PAUSE_AT) connection.pause();
  else if (connection.isPaused && load < RESUME_AT) connection.resume();
};

/** True when a command may not start yet. `proceed` is called when it may, unless a pending command ends first. */
const mustYield = (
  connection: Connection,
  command: ClientCommand,
  proceed: (connection: Connection) => void,
): boolean => {
  const { turn } = connection;
  if (turn.commands >= COMMANDS_PER_TURN) {
    proceedAfter(connection, nextTurn(), proceed);
    return true;
  }
  if (command.is !== 'publish') return false;
  // A client receives its own publications: it would be closed as slow for what it sent.
  if (connection.publishedBytes > MAX_PENDING_PUBLISH_BYTES) return true;
  const bytes = connection.publishedBytes + (command.data?.length ?? 0);
  if (connection.sendBuffer.hasRoom(bytes)) return false;
  proceedAfter(connection, connection.sendBuffer.room(bytes), proceed);
  return true;
};

const proceedAfter = (
  connection: Connection,
  event: Promise<void>,
  proceed: (connection: Connection) => void,
): void => {
  const { turn } = connection;
  if (turn.isYielding) return;
  turn.isYielding = true;
  void event.then(() => {
    turn.isYielding = false;
    turn.commands = 0;
    if (!connection.isClosed) proceed(connection);
  });
};

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
