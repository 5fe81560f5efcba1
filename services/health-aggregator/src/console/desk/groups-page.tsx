import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { count } from '../format.ts';
import { operatorToken } from '../operator.ts';
import { linkTo, place } from '../place.ts';
import { Desk, Silent, Trouble } from './desk.tsx';
import { Group } from './group.tsx';
import { attention, type GroupList, list, lookForGroups, trouble } from './groups.ts';
import { usePoll } from './poll.ts';

/** Groups with their members; one of them in full, with a tail and a line to publish. */
export const GroupsPage = () => {
  const { about } = place.value;
  return about === '' ? (
    <Desk key="" title="What is being said." lede="Every group that has members, the largest first.">
      <Groups />
    </Desk>
  ) : (
    <Desk
      key={about}
      title={about}
      lede="A group: its members by gateway, and what is said in it. Listen as it comes, or say something."
    >
      <Group name={about} />
    </Desk>
  );
};

const Groups = () => {
  const pattern = useSignal('');
  const typed = pattern.value.trim();
  usePoll(`${typed} ${operatorToken.value}`, (isCurrent) => lookForGroups(typed, isCurrent));
  useEffect(() => {
    trouble.value = '';
  }, []);
  const all = list.value;
  return (
    <>
      <form class="bar find" onSubmit={(event) => event.preventDefault()}>
        <label>
          <span class="label">Part of the name, or a pattern with * and ?</span>
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
        <Open name={typed} />
      </form>
      <Trouble why={trouble.value} />
      <Silent gateways={all?.silent} />
      <p class="summary quiet" role="status">
        {all ? summaryOf(all) : ''}
      </p>
      {all && all.items.length > 0 && <Table items={all.items} />}
    </>
  );
};

/** A group without members is not in the list, yet it can be listened to. */
const Open = ({ name }: { name: string }) =>
  name === '' || /[*?]/.test(name) ? null : (
    <a class="as-button" href={linkTo('groups', name)}>
      Open “{name}”
    </a>
  );

const summaryOf = ({ items, total, silent }: GroupList): string => {
  if (silent.length > 0)
    return total === 0 ? 'Groups are unknown.' : `At least ${count(total)} groups have members.`;
  if (total === 0) return 'No group has members.';
  const shown = items.length < total ? `; the ${items.length} largest are shown` : '';
  return `${count(total)} ${total === 1 ? 'group has' : 'groups have'} members${shown}.`;
};

const Table = ({ items }: { items: GroupList['items'] }) => {
  const most = Math.max(...items.map(({ members }) => members));
  return (
    <ul class="group-list" {...attention.handlers}>
      {items.map(({ group, members }) => (
        <li key={group} data-group={group}>
          <a href={linkTo('groups', group)}>{group}</a>
          <svg class="share" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
            <rect width={(100 * members) / most} height="6" rx="1" />
          </svg>
          <span class="number">
            {count(members)} <span class="quiet">{members === 1 ? 'member' : 'members'}</span>
          </span>
        </li>
      ))}
    </ul>
  );
};
