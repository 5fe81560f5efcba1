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

/** Find a user, see every device with its live sockets, sign one out. */
export const SessionsPage = () => (
  <OperatorPage
    title="Who is signed in."
    lede="Find a user, see every device with its live sockets, and sign one out: its sockets close at once."
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
      class="bar find"
      onSubmit={(event) => {
        event.preventDefault();
        goTo('sessions', text.value.trim(), typedTenant.value.trim());
      }}
    >
      <label>
        <span class="label">User, guest or session</span>
        <input
          name="find"
          type="search"
          autocomplete="off"
          spellcheck={false}
          maxLength={255}
          placeholder="the newest"
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
  usePoll(`${about} ${tenant} ${operatorToken.value}`, (isCurrent) =>
    loadDevices({ find: about, tenant }, isCurrent),
  );
  const all = searchResult.value;
  return (
    <div
      class="found"
      aria-busy={all === undefined && sessionError.value === ''}
      {...sessionAttention.handlers}
    >
      <ErrorNotice why={sessionError.value} />
      <SingleTenantNotice tenant={all?.onlyTenant} />
      <UnansweredNotice gateways={all?.silent} />
      <p class="summary quiet" role="status">
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
  const where = tenant === '' ? '' : ` in the tenant ${tenant}`;
  const sockets = items.reduce((sum, device) => sum + (device.sockets?.length ?? 0), 0);
  const isUnknown = items.some((device) => device.sockets === null) || silent === null;
  const atLeast = sockets === 0 ? 'live sockets unknown' : `at least ${plural(sockets, 'live socket')}`;
  const told = isUnknown || silent.length > 0 ? atLeast : plural(sockets, 'live socket');
  const what = `${plural(items.length, 'device')}, ${told}`;
  if (about === '')
    return items.length === 0 ? `Nobody is signed in${where}.` : `The newest ${what}${where}.`;
  if (items.length === 0) return `No live session of “${about}”${where}.`;
  return `${what}${more ? '; there are more' : ''}.`;
};

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

const DeviceCard = ({ device }: { device: Device }) => {
  const farewell = signOutResults.value.get(device.id);
  const { tone, word } = stateOf(device, farewell);
  const name = device.label ?? device.client ?? device.kind;
  return (
    <article class={`device ${farewell ? 'is-leaving' : ''}`} data-session={device.id}>
      <header class="device-head">
        <div>
          <h2>{name}</h2>
          <p class="quiet">
            {device.user === null ? (
              'a guest'
            ) : (
              <a href={linkTo('sessions', device.user, device.tenant)}>{device.user}</a>
            )}
            {inTenant(device.tenant)}
            {' · '}
            <code title={device.id}>{device.id.slice(0, 8)}</code>
            {` · signed in ${shortAge(Date.now() - Date.parse(device.createdAt))} ago`}
            {` · seen ${shortAge(Date.now() - Date.parse(device.lastSeenAt))} ago`}
            {device.ip ? ` · ${device.ip}` : ''}
          </p>
        </div>
        <p class="device-state">
          <Glyph tone={tone} />
          <span>{word}</span>
        </p>
        {!farewell && device.endedAt === null && (
          <ConfirmButton
            action="Sign out"
            subject={`${name}, session ${device.id.slice(0, 8)}`}
            consequence={`${device.user ?? 'A guest'} is signed out on this device, and its sockets close.`}
            onConfirm={(reason) => void signOutDevice(device, reason)}
          />
        )}
      </header>
      {farewell && (
        <p class="notice" role="status">
          {signOutText(farewell)}
        </p>
      )}
      {device.sockets && device.sockets.length > 0 && <Sockets sockets={device.sockets} />}
    </article>
  );
};

const stateOf = (device: Device, farewell: SignOutResult | undefined): { tone: Tone; word: string } => {
  if (farewell?.is === 'closing') return { tone: 'leaving', word: 'Signing out' };
  if (farewell || device.endedAt !== null) return { tone: 'leaving', word: 'Signed out' };
  if (device.sockets === null) return { tone: 'unknown', word: 'Live sockets unknown' };
  if (device.sockets.length === 0) return { tone: 'unknown', word: 'No live socket' };
  return { tone: 'good', word: plural(device.sockets.length, 'live socket') };
};

const signOutText = (farewell: SignOutResult): string => {
  switch (farewell.is) {
    case 'closing':
      return `Signing out; closing ${farewell.sockets === null ? 'its sockets' : plural(farewell.sockets, 'socket')}…`;
    case 'closed':
      if (farewell.sockets === null) return 'Signed out. It has no live socket.';
      return farewell.sockets === 0
        ? 'Signed out. It had no live socket.'
        : `Signed out. ${plural(farewell.sockets, 'socket')} closed within ${latency(farewell.tookMs)}.`;
    case 'waiting':
      return farewell.why;
    default:
      return farewell satisfies never;
  }
};

const SocketsWithoutSession = ({ sockets }: { sockets: readonly SocketInfo[] }) => (
  <article class="device">
    <header class="device-head">
      <div>
        <h2>Without a session here</h2>
        <p class="quiet">These came with a token of another issuer, or their session has just ended.</p>
      </div>
    </header>
    <Sockets sockets={sockets} />
  </article>
);
