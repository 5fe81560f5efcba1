import { CloseCode, ReplyError } from '@muster/protocol/codes';
import type { ConnectCommand } from '@muster/protocol/commands';
import type { Connection } from '../connection.ts';
import type { Admission, Identity, SessionGate } from '../ports.ts';

export interface ConnectDeps {
  readonly gate: SessionGate;
  /** Name of this instance, told to clients. */
  readonly gateway: string;
  readonly version: string;
  readonly pingIntervalMs: number;
}

/** `connect`: who is this, and may they come in. The token of the command goes before what came with the upgrade. */
export const createConnect =
  (deps: ConnectDeps) =>
  (connection: Connection, command: ConnectCommand): Promise<void> | undefined => {
    if (connection.phase.is !== 'greeting') return void connection.refuse('second_connect');
    const tokens = command.token === '' ? connection.tokens : [command.token];
    if (tokens.length === 0) return void connection.refuse('no_credential');
    connection.startConnecting();
    return admit(deps, connection, command, tokens);
  };

const admit = async (
  deps: ConnectDeps,
  connection: Connection,
  command: ConnectCommand,
  tokens: readonly string[],
): Promise<void> => {
  const admission = await deps.gate.admit({ tokens, origin: connection.origin }, connection);
  if (connection.isOver) {
    if (admission.ok) deps.gate.release(admission.identity.sessionId, connection);
    return;
  }
  if (!admission.ok) return turnAway(connection, command, admission);
  welcome(deps, connection, command, admission.identity);
};

const turnAway = (
  connection: Connection,
  command: ConnectCommand,
  admission: Exclude<Admission, { ok: true }>,
): void => {
  switch (admission.why) {
    case 'invalid':
      connection.close(CloseCode.InvalidToken);
      break;
    case 'ended':
      connection.endSession(admission.reason);
      break;
    case 'unavailable':
      connection.refuseConnect(command.id, ReplyError.Internal);
      break;
    default:
      admission satisfies never;
  }
};

const welcome = (
  { gateway, version, pingIntervalMs }: ConnectDeps,
  connection: Connection,
  command: ConnectCommand,
  identity: Identity,
): void => {
  const { user, sessionId } = identity;
  connection.accept(identity, { user, client: connection.id });
  connection.reply({
    id: command.id,
    is: 'connect',
    result: {
      client: connection.id,
      version: `muster ${version}`,
      data: JSON.stringify({ gateway, user, session: sessionId }),
      pingS: Math.max(1, Math.round(pingIntervalMs / 1000)),
      pong: true,
    },
  });
};
