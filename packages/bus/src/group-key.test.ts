import { parseGroupName } from '@muster/protocol/ids';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { groupKeyOf, groupNameOf, tenantOf } from './group-key.ts';
import { groupKeys } from './redis-keys.ts';

const tenant = fc.oneof(fc.constant('default'), fc.stringMatching(/^[\w.-]{1,64}$/));
const group = fc
  .oneof(
    fc.stringMatching(/^[ -~]{1,60}$/),
    fc.constantFrom('default', 'shop', 'shop%1Flobby', '%1F', 'a{b}c', '$x#a,b'),
  )
  .map((text) => parseGroupName(text)!);

test('[GK1] given two groups of any tenants, when keys and Redis names are built, then they are distinct and parse back', () => {
  fc.assert(
    fc.property(tenant, group, tenant, group, (oneTenant, oneGroup, otherTenant, otherGroup) => {
      const one = groupKeyOf(oneTenant, oneGroup);
      expect([tenantOf(one), groupNameOf(one)]).toEqual([oneTenant, oneGroup]);
      const other = groupKeyOf(otherTenant, otherGroup);
      const isSame = oneTenant === otherTenant && oneGroup === otherGroup;
      expect(one === other).toBe(isSame);
      for (const kind of ['channel', 'stream', 'meta', 'presence', 'result'] as const)
        expect(groupKeys('m:', one)[kind] === groupKeys('m:', other)[kind]).toBe(isSame);
    }),
    { numRuns: 500 },
  );
});

test('[GK1] given a group of the default tenant, when its Redis names are built, then they contain the group name', () => {
  const name = parseGroupName('chat:1')!;
  expect(groupKeys('m:', groupKeyOf('default', name)).stream).toBe('m:gs:{chat:1}');
  expect(groupKeys('m:', groupKeyOf('shop', name)).stream).toBe('m:gs:{shop%1Fchat:1}');
});
