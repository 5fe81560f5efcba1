import type { ClientCommand } from '@muster/protocol/commands';
import type { Connection } from './connection.ts';

/** Commands of one connection that are started in one turn of the event loop; then the others have their turn. */
const COMMANDS_PER_TURN = 64;
/** Bytes of publications of one connection that are under way before the next one waits. */
const PUBLISHED_BYTES_UNDER_WAY = 262_144;

/** True when a command of a connection may not start yet. `proceed` is called when it may, unless something under way ends first. */
export const mustYield = (
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
  // A client hears its own groups: it would be closed as slow for what it sent itself.
  if (connection.publishedBytes > PUBLISHED_BYTES_UNDER_WAY) return true;
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
    if (!connection.isOver) proceed(connection);
  });
};

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
