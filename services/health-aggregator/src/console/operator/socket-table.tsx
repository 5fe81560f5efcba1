import type { SocketInfo } from '../../core/operator-ports.ts';
import { shortAge } from '../format.ts';
import { linkTo } from '../router.ts';
import { inTenant } from './operator-page.tsx';

const SHOWN_GROUPS = 8;
const UNITS = ['B', 'KB', 'MB'] as const;

/** Bytes with a unit: `512 B`, `1.5 KB`. */
export const bytes = (value: number): string => {
  const power = value < 1_000 ? 0 : value < 1_000_000 ? 1 : 2;
  const scaled = value / 1_000 ** power;
  return `${power === 0 || scaled >= 100 ? Math.round(scaled) : scaled.toFixed(1)} ${UNITS[power]}`;
};

/** Table of open connections. */
export const Sockets = ({ sockets, withUser = false }: { sockets: readonly SocketInfo[]; withUser?: boolean }) => (
  <table class="data-table sockets">
    <thead>
      <tr>
        <th scope="col">Gateway</th>
        <th scope="col">{withUser ? 'User' : 'Groups'}</th>
        <th scope="col">Age</th>
        <th scope="col">Buffer</th>
        <th scope="col">Transport</th>
      </tr>
    </thead>
    <tbody>
      {sockets.map((socket) => (
        <tr key={socket.client} data-client={socket.client}>
          <th scope="row" data-label="Gateway">
            {socket.gateway}
          </th>
          {withUser ? (
            <td data-label="User">
              <User socket={socket} />
            </td>
          ) : (
            <td data-label="Groups">
              <Groups groups={socket.groups} tenant={socket.tenant} />
            </td>
          )}
          <td class="number" data-label="Age">
            {shortAge(Date.now() - Date.parse(socket.openedAt))}
          </td>
          <td class={`number ${socket.lagBytes > 0 ? 'is-slow' : ''}`} data-label="Buffer">
            {socket.lagBytes === 0 ? 'empty' : bytes(socket.lagBytes)}
          </td>
          <td data-label="Transport">{socket.transport}</td>
        </tr>
      ))}
    </tbody>
  </table>
);

const User = ({ socket: { user, session, tenant } }: { socket: SocketInfo }) => {
  const where = inTenant(tenant);
  if (session === '') return <>{(user || 'anonymous') + where}</>;
  return <a href={linkTo('sessions', session)}>{(user || session.slice(0, 8)) + where}</a>;
};

const Groups = ({ groups, tenant }: { groups: readonly string[]; tenant: string }) => {
  if (groups.length === 0) return <span class="muted">none</span>;
  return (
    <>
      {groups.slice(0, SHOWN_GROUPS).map((group, index) => (
        <span key={group}>
          {index > 0 ? ', ' : ''}
          <a href={linkTo('groups', group, tenant)}>{group}</a>
        </span>
      ))}
      {groups.length > SHOWN_GROUPS && <span class="muted"> and {groups.length - SHOWN_GROUPS} more</span>}
    </>
  );
};
