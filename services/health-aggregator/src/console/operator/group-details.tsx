import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { GroupAddress } from '../../core/operator-ports.ts';
import { count } from '../format.ts';
import { operatorToken } from '../operator-token.ts';
import { linkTo } from '../router.ts';
import { Sparkline } from '../sparkline.tsx';
import {
  currentGroup,
  type GroupInfo,
  groupError,
  loadGroup,
  publicationRates,
  publishToGroup,
  resetGroup,
} from './group-store.ts';
import { ErrorNotice, SingleTenantNotice, UnansweredNotice } from './operator-page.tsx';
import { bytes, Sockets } from './socket-table.tsx';
import { clearTail, stopTail } from './tail-store.ts';
import { Tail } from './tail-view.tsx';
import { usePoll } from './use-poll.ts';

/** Members, rate, live tail and publish form of one group. */
export const GroupDetails = ({ name, tenant }: { name: string; tenant: string }) => {
  const address = { group: name, tenant };
  useEffect(() => {
    resetGroup();
    clearTail();
    return stopTail;
  }, [name, tenant]);
  usePoll(`${name} ${tenant} ${operatorToken.value}`, (isCurrent) => loadGroup(address, isCurrent));
  const now = currentGroup.value;
  return (
    <article class="group" data-group={name}>
      <p>
        <a class="muted" href={linkTo('groups', '', tenant)}>
          All groups
        </a>
      </p>
      <ErrorNotice why={groupError.value} />
      <SingleTenantNotice tenant={now?.onlyTenant} />
      <UnansweredNotice gateways={now?.silent} />
      {now && <GroupFacts now={now} />}
      {now && <Gateways now={now} />}
      <div class="group-activity">
        <Tail address={address} />
        <PublishForm address={address} />
      </div>
      {now && now.sockets.length > 0 && (
        <section class="members" aria-labelledby="members-title">
          <h2 id="members-title">
            Members
            {now.sockets.length < (now.members ?? 0) && <span class="muted"> first {now.sockets.length}</span>}
          </h2>
          <Sockets sockets={now.sockets} withUser />
        </section>
      )}
    </article>
  );
};

const GroupFacts = ({ now }: { now: GroupInfo }) => {
  const rate = publicationRates.value.at(-1);
  return (
    <dl class="facts">
      <Fact name="Members" text={membersOf(now)} />
      <Fact name="Last offset" text={now.position ? count(now.position.offset) : 'no history'} />
      <div class="fact" data-fact="rate">
        <dt>Rate</dt>
        <dd>
          <span class="number">{rate === undefined ? 'measuring…' : `${rate.toFixed(1)}/s`}</span>
          <Sparkline values={publicationRates.value} label="publication rate of the last two minutes" />
        </dd>
      </div>
    </dl>
  );
};

const membersOf = ({ members, more, silent }: GroupInfo): string => {
  if (members === null) return 'unknown';
  return `${silent.length > 0 ? 'at least ' : ''}${count(members)}${more ? ' +' : ''}`;
};

const Fact = ({ name, text }: { name: string; text: string }) => (
  <div class="fact" data-fact={name}>
    <dt>{name}</dt>
    <dd class="number">{text}</dd>
  </div>
);

const Gateways = ({ now: { byGateway, members, silent } }: { now: GroupInfo }) => (
  <section aria-labelledby="gateways-title">
    <h2 id="gateways-title">By gateway</h2>
    {byGateway.length === 0 ? (
      <p class="empty">{silent.length > 0 ? 'Unknown.' : 'This group has no members.'}</p>
    ) : (
      <ul class="group-list">
        {byGateway.map((one) => (
          <li key={one.gateway} data-gateway={one.gateway}>
            <span>{one.gateway}</span>
            <svg class="share" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
              <rect width={(100 * one.members) / Math.max(1, members ?? 1)} height="6" rx="1" />
            </svg>
            <span class="number">
              {count(one.members)} <span class="muted">{one.members === 1 ? 'member' : 'members'}</span>
              {one.lagBytes > 0 && <span class="is-slow"> {bytes(one.lagBytes)} buffered</span>}
            </span>
          </li>
        ))}
      </ul>
    )}
  </section>
);

const PublishForm = ({ address }: { address: GroupAddress }) => {
  const text = useSignal('');
  const result = useSignal<{ ok: boolean; message: string } | undefined>(undefined);
  const submit = async (): Promise<void> => {
    const given = text.value.trim();
    if (given === '') return;
    result.value = await publishToGroup(address, given);
    if (result.value.ok) text.value = '';
  };
  return (
    <form
      class="form-row"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <label>
        <span class="field-label">Publish: JSON or plain text</span>
        <input
          name="publication"
          autocomplete="off"
          spellcheck={false}
          maxLength={10_000}
          value={text.value}
          onInput={(event) => {
            text.value = event.currentTarget.value;
          }}
        />
      </label>
      <button type="submit" class="primary">
        Publish
      </button>
      <p class={`publish-result ${result.value?.ok === false ? 'notice is-error' : 'muted'}`} role="status">
        {result.value?.message ?? ''}
      </p>
    </form>
  );
};
