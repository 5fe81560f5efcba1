import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { count } from '../format.ts';
import { operatorToken } from '../operator-token.ts';
import { currentRoute, linkTo } from '../router.ts';
import { GroupDetails } from './group-details.tsx';
import { type GroupList, groupAttention, groupError, groupKey, groupList, loadGroups } from './group-store.ts';
import {
  ErrorNotice,
  inTenant,
  OperatorPage,
  SingleTenantNotice,
  TenantField,
  UnansweredNotice,
} from './operator-page.tsx';
import { usePoll } from './use-poll.ts';

/** List of groups, or the details of one group. */
export const GroupsPage = () => {
  const { about, tenant } = currentRoute.value;
  return about === '' ? (
    <OperatorPage key="" title="Groups" subtitle="Groups with members, the largest first.">
      <Groups />
    </OperatorPage>
  ) : (
    <OperatorPage
      key={`${tenant} ${about}`}
      title={about + inTenant(tenant)}
      subtitle="Members by gateway, live publications, and a form to publish."
    >
      <GroupDetails name={about} tenant={tenant} />
    </OperatorPage>
  );
};

const Groups = () => {
  const pattern = useSignal('');
  const typed = pattern.value.trim();
  const typedTenant = useSignal(currentRoute.value.tenant);
  const tenant = typedTenant.value.trim();
  useEffect(() => {
    typedTenant.value = currentRoute.value.tenant;
  }, [currentRoute.value.tenant]);
  usePoll(`${typed} ${tenant} ${operatorToken.value}`, (isCurrent) =>
    loadGroups({ pattern: typed, tenant }, isCurrent),
  );
  useEffect(() => {
    groupError.value = '';
  }, []);
  const all = groupList.value;
  return (
    <>
      <form class="form-row search" onSubmit={(event) => event.preventDefault()}>
        <label>
          <span class="field-label">Part of the name, or a pattern with * and ?</span>
          <input
            name="pattern"
            type="search"
            autocomplete="off"
            spellcheck={false}
            maxLength={255}
            placeholder="all groups"
            value={pattern.value}
            onInput={(event) => {
              pattern.value = event.currentTarget.value;
            }}
          />
        </label>
        <TenantField
          label="Tenant (* for all)"
          usual={all?.onlyTenant}
          value={typedTenant.value}
          onInput={(text) => {
            typedTenant.value = text;
          }}
        />
        <OpenGroupLink name={typed} tenant={tenant} />
      </form>
      <ErrorNotice why={groupError.value} />
      <SingleTenantNotice tenant={all?.onlyTenant} />
      <UnansweredNotice gateways={all?.silent} />
      <p class="summary muted" role="status">
        {all ? summaryOf(all) : ''}
      </p>
      {all && all.items.length > 0 && <GroupTable items={all.items} />}
    </>
  );
};

/** Link to a group by name; a group without members is not listed. */
const OpenGroupLink = ({ name, tenant }: { name: string; tenant: string }) =>
  name === '' || /[*?]/.test(name) || tenant === '*' ? null : (
    <a class="as-button" href={linkTo('groups', name, tenant)}>
      Open “{name}”
    </a>
  );

const summaryOf = ({ items, total, silent }: GroupList): string => {
  if (silent.length > 0)
    return total === 0 ? 'The number of groups is unknown.' : `At least ${count(total)} groups have members.`;
  if (total === 0) return 'No group has members.';
  const shown = items.length < total ? `; the ${items.length} largest are shown` : '';
  return `${count(total)} ${total === 1 ? 'group has' : 'groups have'} members${shown}.`;
};

const GroupTable = ({ items }: { items: GroupList['items'] }) => {
  const maximum = Math.max(...items.map(({ members }) => members));
  return (
    <ul class="group-list" {...groupAttention.handlers}>
      {items.map(({ group, tenant, members }) => (
        <li key={groupKey({ group, tenant })} data-group={group}>
          <a href={linkTo('groups', group, tenant)}>{group + inTenant(tenant)}</a>
          <svg class="share" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
            <rect width={(100 * members) / maximum} height="6" rx="1" />
          </svg>
          <span class="number">
            {count(members)} <span class="muted">{members === 1 ? 'member' : 'members'}</span>
          </span>
        </li>
      ))}
    </ul>
  );
};
