import { validate } from '@muster/http/validation';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { usualBody } from './create-session-fast-path.ts';
import { createSessionBody } from './schemas.ts';

/** A good value most of the time, a bad one sometimes: every part of a body has to be good. */
const mostly = (good: fc.Arbitrary<unknown>, bad: fc.Arbitrary<unknown>) =>
  fc.oneof({ arbitrary: good, weight: 30 }, { arbitrary: bad, weight: 1 });
const text = mostly(
  fc.string({ minLength: 1, maxLength: 12 }).map((some) => `t${some}t`),
  fc.constantFrom('', ' ', '.', '..', ' label ', 'a\0', '\ud800', 'x'.repeat(33), 'x'.repeat(600)),
);
const name = fc.oneof(
  { arbitrary: fc.string({ maxLength: 5 }), weight: 30 },
  { arbitrary: fc.constantFrom('__proto__', 'constructor', '1', 'a\0', ''), weight: 1 },
);
const number = mostly(fc.integer(), fc.oneof(fc.double(), fc.constantFrom(-0, 1e15, 2 ** 53, 1e300, 0.1)));
const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(null, true, false),
    number,
    text,
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(name, tie('value'), { maxKeys: 3 }),
  ),
})).value;
const often = (arbitrary: fc.Arbitrary<unknown>) => mostly(arbitrary, fc.oneof(json, text));
const actions = mostly(fc.constantFrom('subscribe', 'publish', 'presence', 'history'), fc.constant('other'));
const members = (shape: Record<string, fc.Arbitrary<unknown>>) =>
  fc.record({ ...shape, extra: mostly(fc.constant(undefined), fc.constant(1)) }, { requiredKeys: [] });
const bodies = members({
  user_id: often(fc.string({ minLength: 1, maxLength: 20 })),
  tenant: often(fc.constantFrom('acme', 'a.b-c_d')),
  policy: often(fc.constantFrom('standard', 'session', 'aal2', 'service', 'aal3')),
  remember: often(fc.boolean()),
  transport: often(fc.constantFrom('cookie', 'bearer')),
  label: often(text),
  client: often(
    members({ kind: often(fc.constantFrom('web', 'app-1')), summary: often(text), device_id: often(text) }),
  ),
  ip: often(fc.oneof(fc.ipV4(), fc.ipV6())),
  user_agent: often(text),
  country: often(fc.constantFrom('DE', 'FR')),
  auth: often(
    members({
      aal: often(mostly(fc.constantFrom(1, 2, 3), fc.constantFrom(0, 4, 1.5))),
      amr: often(fc.array(text, { maxLength: 3 })),
      idp: often(text),
      idp_sid: often(text),
      idp_sub: often(text),
      time: mostly(fc.constant(undefined), fc.constant('2026-01-01T00:00:00Z')),
    }),
  ),
  actor: mostly(fc.constant(undefined), fc.constant({ id: 'admin' })),
  data: often(fc.dictionary(name, json, { maxKeys: 4 })),
  grants: often(
    fc.array(fc.record({ allow: often(fc.array(actions, { minLength: 1, maxLength: 4 })), groups: often(text) }), {
      maxLength: 2,
    }),
  ),
});

test('[SE114] a body that the fast path accepts has the output of the schema', () => {
  let accepted = 0;
  fc.assert(
    fc.property(bodies, (sent) => {
      const body: unknown = JSON.parse(JSON.stringify(sent));
      const usual = usualBody(body);
      if (usual === undefined) return;
      accepted += 1;
      // As text: the order of members is part of the hash of an idempotent request.
      expect(JSON.stringify(usual)).toBe(JSON.stringify(validate(createSessionBody, 'body', body)));
    }),
    { numRuns: 1_000 },
  );
  expect(accepted).toBeGreaterThan(100);
});

test.each([
  {},
  { user_id: 'ann' },
  { user_id: 'ann', transport: 'cookie', remember: false },
  { user_id: 'ann', tenant: 'acme', policy: 'aal2', label: 'Laptop', ip: '203.0.113.7', country: 'DE' },
  { user_id: 'ann', client: { kind: 'ios', summary: 'iPhone', device_id: 'd' }, user_agent: 'curl/8' },
  { user_id: 'ann', auth: { aal: 2, amr: ['pwd', 'otp'], idp: 'acme', idp_sid: 's', idp_sub: 'x' } },
  { user_id: 'ann', data: { plan: 'pro', seats: [1, 2.5, null, { deep: true }] } },
  { user_id: 'ann', grants: [{ groups: 'room:*', allow: ['subscribe', 'publish'] }] },
])('[SE114] %j is a usual body', (body) => {
  expect(JSON.stringify(usualBody(body))).toBe(JSON.stringify(validate(createSessionBody, 'body', body)));
});
