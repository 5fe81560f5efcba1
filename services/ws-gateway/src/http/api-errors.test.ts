import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { errorJson } from '../core/api/api-errors.ts';
import { engineUnderTest } from '../core/engine-fixture.ts';
import { API_BODIES } from './api-schemas.ts';

const GOOD: Readonly<Record<keyof typeof API_BODIES, Readonly<Record<string, unknown>>>> = {
  publish: { channel: 'room', data: 1 },
  broadcast: { channels: ['room'], data: 1 },
  subscribe: { user: 'ann', channel: 'room' },
  send: { user: 'ann', data: 1 },
  refresh: { user: 'ann' },
  unsubscribe: { user: 'ann', channel: 'room' },
  disconnect: { user: 'ann' },
  presence: { channel: 'room' },
  presence_stats: { channel: 'room' },
  history: { channel: 'room' },
  history_remove: { channel: 'room' },
  channels: {},
  connections: {},
  info: {},
  rpc: { method: 'now' },
  batch: { commands: [] },
};
const VALUES: readonly unknown[] = [true, -7, 1.5, 'text', '', ['x'], [1], {}, { x: 1 }];
const ROOM = { retention: { size: 5, ttlMs: 60_000, metaTtlMs: 60_000 }, presence: true };

const messageOf = async (method: string, params: unknown): Promise<string> => {
  const outcome = await engineUnderTest({ groups: ROOM }).engine.api.call(method, params);
  if (outcome.ok) throw new Error(`${method} ${JSON.stringify(params)} was accepted`);
  return JSON.parse(errorJson(outcome)).message;
};

describe.each(Object.entries(API_BODIES))('%s', (method, body) => {
  const good = GOOD[method as keyof typeof API_BODIES];
  const fields = Object.entries(body.shape as Readonly<Record<string, z.ZodType>>);

  test('[AP36] given a missing parameter, when a method is called, then the message names it and the given parameters', async () => {
    for (const name of Object.keys(good)) {
      const { [name]: value, ...rest } = good;
      const isNeeded = !body.safeParse(rest).success || name === 'user' || name === 'data';
      if (!isNeeded) continue;
      const message = await messageOf(method, { ...rest, [`${name}x`]: value });
      expect(message).toMatch(new RegExp(`^bad request: .*${name}\\b.* is missing; given: .*${name}x`));
    }
  });

  test('[AP35] given a parameter of the wrong type, when a method is called, then the message names it', async () => {
    for (const [name, schema] of fields) {
      const base = name.startsWith('b64') ? { ...good, data: undefined } : good;
      for (const value of VALUES.filter((one) => !schema.safeParse(one).success)) {
        const { engine } = engineUnderTest({ groups: ROOM });
        const outcome = await engine.api.call(method, JSON.parse(JSON.stringify({ ...base, [name]: value })));
        // No application answers `rpc` here.
        if (outcome.ok || (method === 'rpc' && outcome.code === 104)) continue;
        const { code, message } = JSON.parse(errorJson(outcome));
        expect({ code, message }, JSON.stringify(value)).toEqual({
          code: 107,
          message: expect.stringMatching(new RegExp(`^bad request: .(${name}\\b|user, client or session)`)),
        });
      }
    }
  });
});

test('[AP35] [AP36] given an invalid group name, when a method is called, then the message states the cause', async () => {
  expect(await messageOf('publish', { chanel: 'room', data: 1 })).toBe(
    'bad request: `channel` is missing; given: chanel, data',
  );
  expect(await messageOf('publish', {})).toBe('bad request: `channel` is missing; given: nothing');
  expect(await messageOf('history', { channel: 'x'.repeat(300) })).toBe(
    'bad request: `channel` has 300 characters; a name has 1 to 255 printable ASCII characters',
  );
  expect(await messageOf('subscribe', { user: 'ann', channel: 'room', override: { presence: 1 } })).toBe(
    'bad request: `override.presence` must be a JSON object, not a number',
  );
});
