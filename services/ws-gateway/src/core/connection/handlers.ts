import type {
  ConnectCommand,
  HistoryCommand,
  PresenceCommand,
  PublishCommand,
  RefreshCommand,
  RpcCommand,
  SubRefreshCommand,
  SubscribeCommand,
  UnsubscribeCommand,
} from '@muster/protocol/commands';
import type { Connection } from './connection.ts';

/** One function per method. A promise means that the reply comes later; rejections are translated by the dispatcher. */
export interface Handlers {
  connect(connection: Connection, command: ConnectCommand): Promise<void> | undefined;
  subscribe(connection: Connection, command: SubscribeCommand): Promise<void> | undefined;
  unsubscribe(connection: Connection, command: UnsubscribeCommand): void;
  publish(connection: Connection, command: PublishCommand): Promise<void> | undefined;
  presence(connection: Connection, command: PresenceCommand): Promise<void> | undefined;
  history(connection: Connection, command: HistoryCommand): Promise<void> | undefined;
  rpc(connection: Connection, command: RpcCommand): Promise<void> | undefined;
  refresh(connection: Connection, command: RefreshCommand): Promise<void> | undefined;
  subRefresh(connection: Connection, command: SubRefreshCommand): Promise<void> | undefined;
}
