import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { SocketInfo } from '../../core/operator-ports.ts';
import { ConfirmButton } from '../confirm-button.tsx';
import { latency, shortAge } from '../format.ts';
import { Glyph } from '../icons.tsx';
import type { Tone } from '../labels.ts';
import { operatorToken } from '../operator-token.ts';
import { currentRoute, goTo, linkTo } from '../router.ts';
import {
  ErrorNotice,
  inTenant,
  OperatorPage,
  SingleTenantNotice,
  TenantField,
  UnansweredNotice,
} from './operator-page.tsx';
import {
  type Device,
  loadDevices,
  resetSearch,
  type SessionSearchResult,
  type SignOutResult,
  searchResult,
  sessionAttention,
  sessionError,
  signOutDevice,
  signOutResults,
} from './session-store.ts';
import { Sockets } from './socket-table.tsx';
import { usePoll } from './use-poll.ts';

/** Search for sessions, show their connections, sign them out. */
export const SessionsPage = () => (
  <OperatorPage
    title="Sessions"
    subtitle="Search for a user, inspect the connections of each device, and sign a device out: its connections close at once."
  >
    <Search />
    <Results />
  </OperatorPage>
);

const Search = () => {
  const { about, tenant } = currentRoute.value;
  const text = useSignal(about);
  const typedTenant = useSignal(tenant);
  useEffect(() => {
    text.value = about;
    typedTenant.value = tenant;
  }, [about, tenant]);
  return (
    <form
      class="form-row search"
      onSubmit={(event) => {
        event.preventDefault();
        goTo('sessions', text.value.trim(), typedTenant.value.trim());
      }}
    >
      <label>
        <span class="field-label">User, guest or session</span>
        <input
          name="find"
          type="search"
          autocomplete="off"
          spellcheck={false}
          maxLength={255}
          placeholder="newest sessions"
          value={text.value}
          onInput={(event) => {
            text.value = event.currentTarget.value;
          }}
        />
      </label>
      <TenantField
        usual={searchResult.value?.onlyTenant}
        value={typedTenant.value}
        onInput={(typed) => {
          typedTenant.value = typed;
        }}
      />
      <button type="submit" class="primary">
        Find
      </button>
    </form>
  );
};

const Results = () => {
  const { about, tenant } = currentRoute.value;
  useEffect(resetSearch, [about, tenant, operatorToken.value]);
  usePoll(`${about} ${tenant} ${operatorToken.value}`, (isCurrent) => loadDevices({ find: about, tenant }, isCurrent));
  const all = searchResult.value;
  return (
    <div
      class="search-results"
      aria-busy={all === undefined && sessionError.value === ''}
      {...sessionAttention.handlers}
    >
      <ErrorNotice why={sessionError.value} />
      <SingleTenantNotice tenant={all?.onlyTenant} />
      <UnansweredNotice gateways={all?.silent} />
      <p class="summary muted" role="status">
        {all ? summaryOf({ about, tenant }, all) : ''}
      </p>
      {all?.items.map((device) => (
        <DeviceCard key={device.id} device={device} />
      ))}
      {about !== '' && all?.others && all.others.length > 0 && <SocketsWithoutSession sockets={all.others} />}
    </div>
  );
};

const summaryOf = (
  { about, tenant }: { readonly about: string; readonly tenant: string },
  { items, more, silent }: SessionSearchResult,
): string => {
  const where = tenant === '' ? '' : ` in tenant ${tenant}`;
  const sockets = items.reduce((sum, device) => sum + (device.sockets?.length ?? 0), 0);
  const isUnknown = items.some((device) => device.sockets === null) || silent === null;
  const atLeast = sockets === 0 ? 'connections unknown' : `at least ${plural(sockets, 'open connection')}`;
  const connections = isUnknown || silent.length > 0 ? atLeast : plural(sockets, 'open connection');
  const what = `${plural(items.length, 'device')}, ${connections}`;
  if (about === '') return items.length === 0 ? `No active sessions${where}.` : `Newest first: ${what}${where}.`;
  if (items.length === 0) return `No active session for “${about}”${where}.`;
  return `${what}${more ? '; more exist' : ''}.`;
};

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

const DeviceCard = ({ device }: { device: Device }) => {
  const signOut = signOutResults.value.get(device.id);
  const { tone, label } = stateOf(device, signOut);
  const name = device.label ?? device.client ?? device.kind;
  return (
    <article class={`device ${signOut ? 'is-signed-out' : ''}`} data-session={device.id}>
      <header class="device-head">
        <div>
          <h2>{name}</h2>
          <p class="muted">
            {device.user === null ? (
              'guest'
            ) : (
              <a href={linkTo('sessions', device.user, device.tenant)}>{device.user}</a>
            )}
            {inTenant(device.tenant)}
            {' · '}
            <code title={device.id}>{device.id.slice(0, 8)}</code>
            {` · signed in ${shortAge(Date.now() - Date.parse(device.createdAt))} ago`}
            {` · last seen ${shortAge(Date.now() - Date.parse(device.lastSeenAt))} ago`}
            {device.ip ? ` · ${device.ip}` : ''}
          </p>
        </div>
        <p class="device-state">
          <Glyph tone={tone} />
          <span>{label}</span>
        </p>
        {!signOut && device.endedAt === null && (
          <ConfirmButton
            action="Sign out"
            subject={`${name}, session ${device.id.slice(0, 8)}`}
            consequence={`${device.user ?? 'The guest'} is signed out on this device, and its connections close.`}
            onConfirm={(reason) => void signOutDevice(device, reason)}
          />
        )}
      </header>
      {signOut && (
        <p class="notice" role="status">
          {signOutText(signOut)}
        </p>
      )}
      {device.sockets && device.sockets.length > 0 && <Sockets sockets={device.sockets} />}
    </article>
  );
};

const stateOf = (device: Device, signOut: SignOutResult | undefined): { tone: Tone; label: string } => {
  if (signOut?.is === 'closing') return { tone: 'draining', label: 'Signing out' };
  if (signOut || device.endedAt !== null) return { tone: 'draining', label: 'Signed out' };
  if (device.sockets === null) return { tone: 'unknown', label: 'Connections unknown' };
  if (device.sockets.length === 0) return { tone: 'unknown', label: 'No open connection' };
  return { tone: 'ok', label: plural(device.sockets.length, 'open connection') };
};

const signOutText = (signOut: SignOutResult): string => {
  switch (signOut.is) {
    case 'closing':
      return `Signing out; closing ${signOut.sockets === null ? 'its connections' : plural(signOut.sockets, 'connection')}…`;
    case 'closed':
      if (signOut.sockets === null) return 'Signed out. It has no open connection.';
      return signOut.sockets === 0
        ? 'Signed out. It had no open connection.'
        : `Signed out. ${plural(signOut.sockets, 'connection')} closed within ${latency(signOut.tookMs)}.`;
    case 'waiting':
      return signOut.why;
    default:
      return signOut satisfies never;
  }
};

const SocketsWithoutSession = ({ sockets }: { sockets: readonly SocketInfo[] }) => (
  <article class="device">
    <header class="device-head">
      <div>
        <h2>Connections without a session</h2>
        <p class="muted">Authenticated with a token of another issuer, or the session has just ended.</p>
      </div>
    </header>
    <Sockets sockets={sockets} />
  </article>
);
