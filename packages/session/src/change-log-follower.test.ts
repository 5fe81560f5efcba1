import { expect, test } from 'vitest';
import { type ChangeLog, ChangeLogFollower } from './change-log-follower.ts';
import { parseBusMessage } from './session-events.ts';
import { newSessionId } from './token.ts';

/** A stream and a bus in memory; the test decides which messages arrive. */
const createWorld = () => {
  const entries: { id: string; payload: string }[] = [];
  const ended: string[] = [];
  const lost: string[] = [];
  const faults: unknown[] = [];
  const state = { epoch: 'e1' as string | undefined, reads: 0, whole: true, broken: false };
  const source: ChangeLog = {
    top: async () => entries.at(-1)?.id ?? '0-0',
    epoch: async () => {
      if (state.broken) throw new Error('no Redis');
      return state.epoch;
    },
    range: async (from) => {
      state.reads += 1;
      const at = Number(from.split('-')[0]);
      return entries.filter(({ id }) => Number(id.split('-')[0]) >= at);
    },
    isWhole: async () => state.whole,
  };
  const follower = new ChangeLogFollower(source, {
    onChange: (change) => void ended.push(...change.ids),
    onRepaired: () => {},
    onLost: (why) => void lost.push(why),
    onFault: (error) => void faults.push(error),
  });
  const emit = (n: number) => {
    const id = newSessionId();
    const payload = JSON.stringify({ k: 'end', ids: [id], why: 'logout', at: 1 });
    const previous = entries.at(-1)?.id ?? '0-0';
    entries.push({ id: `${n}-0`, payload });
    return { id, text: `${previous} ${n}-0 ${payload}` };
  };
  const beat = () => {
    const last = entries.at(-1)?.id ?? '0-0';
    return `${last} ${last} ${JSON.stringify({ k: 'hb', e: state.epoch })}`;
  };
  const hear = (text: string) => {
    const message = parseBusMessage(text);
    if (message) follower.onMessage(message);
  };
  return { entries, ended, lost, faults, state, follower, emit, beat, hear };
};

test('[EV1] given malformed messages and unknown kinds, when they are parsed, then they are undefined and unknown', () => {
  for (const text of ['', 'x', '1-0 2-0', '1-0 2-0 {', '1-0 2-0 null', '1-0 2-0 {"k":"end"}', '1-0 2-0 {"k":1}']) {
    expect(parseBusMessage(text)).toBeUndefined();
  }
  expect(parseBusMessage('1-0 2-0 {"k":"tenant-end"}')?.content).toEqual({ is: 'unknown' });
  const odd = parseBusMessage('1-0 2-0 {"k":"end","ids":["no-uuid",7],"why":"x","at":1}');
  expect(odd?.content).toMatchObject({ change: { ids: [] } });
});

test('[EV2] given messages in sequence, when one is lost, then the gap is read once', async () => {
  const world = createWorld();
  await world.follower.repair();
  const first = world.emit(1);
  world.hear(first.text);
  expect(world.ended).toEqual([first.id]);
  expect(world.state.reads).toBe(0);
  const unheard = world.emit(2);
  const third = world.emit(3);
  const fourth = world.emit(4);
  world.hear(third.text);
  world.hear(fourth.text);
  await world.follower.repair();
  expect(world.ended).toContain(unheard.id);
  expect(world.follower.isCurrent).toBe(true);
  expect(world.lost).toEqual([]);
  const reads = world.state.reads;
  world.hear(world.emit(5).text);
  expect(world.state.reads).toBe(reads);
});

test('[EV3] given a lost change, when a heartbeat is received, then the gap is read', async () => {
  const world = createWorld();
  await world.follower.repair();
  const unheard = world.emit(1);
  world.hear(world.beat());
  await world.follower.repair();
  expect(world.ended).toContain(unheard.id);
});

test('[EV4] given a new epoch, when a heartbeat is received, then every local session is checked again', async () => {
  const world = createWorld();
  world.emit(1);
  await world.follower.repair();
  world.entries.length = 0;
  world.state.epoch = 'e2';
  world.hear(world.beat());
  await world.follower.repair();
  expect(world.lost).toEqual(['epoch']);
});

test('[EV4] given a change log trimmed past the position, when the gap is read, then it is reported as lost', async () => {
  const world = createWorld();
  world.emit(1);
  await world.follower.repair();
  world.emit(2);
  world.emit(3);
  world.entries.splice(0, 2);
  world.hear(world.beat());
  await world.follower.repair();
  expect(world.lost).toEqual(['trimmed']);
});

test('[EV4] given a change log that went backwards, when a heartbeat is received, then it is reported as lost', async () => {
  const world = createWorld();
  world.emit(1);
  world.emit(2);
  await world.follower.repair();
  world.entries.pop();
  world.hear(world.beat());
  expect(world.lost).toEqual(['backwards']);
});

test('[EV5] given duplicates and late messages, when they are received, then the state does not change', async () => {
  const world = createWorld();
  await world.follower.repair();
  const one = world.emit(1);
  const two = world.emit(2);
  world.hear(two.text);
  await world.follower.repair();
  world.hear(one.text);
  world.hear(two.text);
  expect(new Set(world.ended)).toEqual(new Set([one.id, two.id]));
  expect(world.follower.isCurrent).toBe(true);
  expect(world.lost).toEqual([]);
});

test('[EV2] given a read that failed, when the next heartbeat is received, then the gap is read', async () => {
  const world = createWorld();
  await world.follower.repair();
  const unheard = world.emit(1);
  world.state.broken = true;
  world.hear(world.beat());
  await world.follower.repair();
  expect(world.faults.length).toBeGreaterThan(0);
  world.state.broken = false;
  world.hear(world.beat());
  await world.follower.repair();
  expect(world.ended).toContain(unheard.id);
});
