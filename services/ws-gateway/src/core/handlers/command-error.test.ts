import { describe, expect, test } from 'vitest';
import { engineUnderTest } from '../engine-fixture.ts';
import { DEFAULT_OPTIONS } from '../namespaces.ts';

const leaf = { key: 'k', cmp: 'eq', val: 'v' };
const deep = (levels: number): object => (levels === 0 ? leaf : { op: 'not', nodes: [deep(levels - 1)] });
const subscribe = (more: object) => ({ subscribe: { channel: 'a', ...more } });
const publish = (more: object) => ({ publish: { channel: 'a', data: {}, ...more } });

describe('[VL8] given invalid input, when a command is sent', () => {
  test.each([
    ['a long name', subscribe({ channel: 'x'.repeat(300) }), 107, '`channel` has 300 characters; a name has 1 to 255'],
    ['a name that is not ASCII', subscribe({ channel: 'caf\u00e9' }), 107, '`channel` has characters other than'],
    ['a name that the namespace does not take', subscribe({ channel: 'B' }), 107, '`channel_regex`'],
    [
      'a name without a namespace',
      subscribe({ channel: 'none:a' }),
      102,
      'the namespace of `channel` is not configured',
    ],
    ['another kind of subscription', subscribe({ type: 1 }), 103, '`type` is 1; this server supports type 0 only'],
    [
      'a filter that is too long',
      subscribe({ tf: { op: 'or', nodes: Array(64).fill(leaf) } }),
      107,
      '`tf` has more than 64 conditions',
    ],
    ['a filter that is too deep', subscribe({ tf: deep(9) }), 107, '`tf` has more than 8 levels'],
    ['a filter with an unknown comparison', subscribe({ tf: { ...leaf, cmp: 'like' } }), 107, 'unknown `cmp`'],
    ['a filter without a key', subscribe({ tf: { cmp: 'eq' } }), 107, '`tf` has a condition without `key`'],
    ['no data', { publish: { channel: 'a' } }, 107, '`data` is missing'],
    ['data of another format', publish({ data: 1 }), 107, '`data` must be of the format json_object'],
    ['another kind of publication', publish({ type: 2 }), 107, '`type` is 2; this server supports type 0 only'],
    ['a question about a bad name', { history: { channel: 'caf\u00e9' } }, 107, '`channel` has characters other'],
    ['history that is not kept', { history: { channel: 'a' } }, 108, 'this group keeps no history'],
    ['presence that is off', { presence: { channel: 'a' } }, 108, 'presence is off in this group'],
  ])('given %s, then the error names the thing and the cause', async (_what, command, code, reason) => {
    const options = {
      allowTagsFilter: true,
      publicationDataFormat: 'json_object',
      nameRegex: /^[a-z\u00e9:]+$/,
    } as const;
    const { connected } = engineUnderTest({
      groups: { ...DEFAULT_OPTIONS, ...options, retention: undefined, presence: false },
      isKnown: (group) => !group.startsWith('none:'),
    });
    const one = await connected();
    const [answer] = (await one.say({ id: 7, ...command })) as { error: { code: number; message: string } }[];
    expect(answer).toMatchObject({ id: 7, error: { code, message: expect.stringContaining(reason) } });
  });
});
