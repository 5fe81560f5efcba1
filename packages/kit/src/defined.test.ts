import { expect, test } from 'vitest';
import { defined } from './defined.ts';

test('undefined members are left out, other falsy values are kept', () => {
  const tenant: string | undefined = undefined;
  const result: { readonly tenant?: string; readonly count: number } = defined({ tenant, count: 0 });
  expect(Object.keys(result)).toEqual(['count']);
  expect(defined({ empty: '', none: null, no: false })).toEqual({ empty: '', none: null, no: false });
});
