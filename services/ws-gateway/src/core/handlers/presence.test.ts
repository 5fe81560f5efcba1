import { createMemoryBroker } from '@muster/bus/memory-broker';
import { createMemoryPresence } from '@muster/bus/memory-presence';
import { expect, test } from 'vitest';
import { engineUnderTest, settle } from '../engine-fixture.ts';

const subscribe = (more: object = {}) => ({ id: 2, subscribe: { channel: 'room', ...more } });
const ask = (method = 'presence') => ({ id: 9, [method]: { channel: 'room' } });
const fleet = (groups: object = {}) => {
  const [broker, presence] = [createMemoryBroker(), createMemoryPresence()];
  const engine = () => engineUnderTest({ broker, presence, groups: { presence: true, ...groups } });
  return [engine(), engine()] as const;
};

test('[PS1] [PS6] given clients on two gateways, when a member queries presence, then all are included, plain clients too', async () => {
  const [one, two] = fleet();
  const [ann, bob] = [await one.connected('ann'), await two.connected('bob')];
  const again = await two.connected('bob');
  for (const { say } of [ann, bob, again]) await say(subscribe());
  const [reply] = (await ann.say(ask())) as { presence: { presence: Record<string, unknown> } }[];
  expect(Object.values(reply?.presence.presence ?? {})).toEqual(
    expect.arrayContaining([
      { user: 'ann', client: 'client-1' },
      { user: 'bob', client: 'client-2' },
    ]),
  );
  expect(await ann.say(ask('presence_stats'))).toEqual([{ id: 9, presence_stats: { num_clients: 3, num_users: 2 } }]);
  await two.plain('room', 'bob');
  expect(await ann.say(ask('presence_stats'))).toEqual([{ id: 9, presence_stats: { num_clients: 4, num_users: 2 } }]);
});

test('[PS2] given members that leave in any way, when presence is queried, then they are not included', async () => {
  const [one] = fleet();
  const observer = await one.connected('ann');
  await observer.say(subscribe());
  const [left, gone, ended] = [await one.connected('bob'), await one.connected('bob'), await one.connected('bob')];
  for (const { say } of [left, gone, ended]) await say(subscribe());
  const count = async () =>
    ((await observer.say(ask('presence_stats'))) as { presence_stats: { num_clients: number } }[])[0]?.presence_stats
      .num_clients;
  expect(await count()).toBe(4);
  await left.say({ id: 3, unsubscribe: { channel: 'room' } });
  gone.connection.onClosed(1006);
  expect(await count()).toBe(2);
  one.authenticator.end('bob', 'logout');
  expect(await count()).toBe(1);
});

const joins = (messages: unknown[]) =>
  (messages as { push?: { join?: { info: { user: string } }; leave?: { info: { user: string } } } }[]).flatMap(
    ({ push }) => [
      ...(push?.join ? [`+${push.join.info.user}`] : []),
      ...(push?.leave ? [`-${push.leave.info.user}`] : []),
    ],
  );

test('[PS3] given members that requested join and leave, when clients join and leave, then they receive the pushes', async () => {
  const [one, two] = fleet({ joinLeave: true });
  const [curious, calm, bob] = [await one.connected('ann'), await one.connected('ann'), await two.connected('bob')];
  expect(joins(await curious.say(subscribe({ join_leave: true })))).toEqual(['+ann']);
  await calm.say(subscribe());
  await bob.say(subscribe());
  await bob.say({ id: 3, unsubscribe: { channel: 'room' } });
  await settle();
  expect(joins(curious.wire.take())).toEqual(['+ann', '+bob', '-bob']);
  expect(joins(calm.wire.take())).toEqual([]);
});

test('[PS7] [PS8] given force_push_join_leave, when clients join, then all members receive the push, and without join_leave none', async () => {
  const [forced] = fleet({ joinLeave: true, forcePushJoinLeave: true });
  expect(joins(await (await forced.connected()).say(subscribe()))).toEqual(['+ann']);
  const [silent] = fleet();
  expect(joins(await (await silent.connected()).say(subscribe({ join_leave: true })))).toEqual([]);
});

test('[PS4] given a gateway that fails, when its lease expires, then members receive the leaves of its clients', async () => {
  const [one, two] = fleet({ joinLeave: true });
  const [ann, bob] = [await one.connected('ann'), await two.connected('bob')];
  await ann.say(subscribe({ join_leave: true }));
  await bob.say(subscribe());
  ann.wire.take();
  two.presence.die();
  await settle();
  expect(joins(ann.wire.take())).toEqual(['-bob']);
  expect(await ann.say(ask('presence_stats'))).toEqual([{ id: 9, presence_stats: { num_clients: 1, num_users: 1 } }]);
});

test('[PS5] [PS9] given a group without presence or permission, when a client queries it, then the result is error 108 or 103', async () => {
  const [none] = fleet({ presence: false });
  expect(await (await none.connected()).say(ask())).toMatchObject([{ error: { code: 108 } }]);
  const [some] = fleet();
  expect(await (await some.connected()).say(ask('presence_stats'))).toMatchObject([{ error: { code: 103 } }]);
});
