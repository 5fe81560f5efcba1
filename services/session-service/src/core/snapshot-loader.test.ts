import { newSessionId, type SessionId } from '@muster/session/token';
import { expect, test } from 'vitest';
import type { SessionRecord } from './session-record.ts';
import { createSnapshotLoader } from './snapshot-loader.ts';

const record = (id: SessionId) => ({ id }) as SessionRecord;
const turn = () => new Promise((resolve) => setImmediate(resolve));

test('[SE22] given requests of one turn, they are one statement and one read per id', async () => {
  const batches: (readonly SessionId[])[] = [];
  const loader = createSnapshotLoader({
    findMany: async (ids) => {
      batches.push(ids);
      return ids.slice(1).map(record);
    },
    maxConcurrent: 1,
  });
  const ids = Array.from({ length: 5 }, newSessionId);
  const answers = await Promise.all([...ids, ids[1]!].map((id) => loader.load(id)));
  expect(batches).toEqual([ids]);
  expect(answers[0]).toBeUndefined();
  expect(answers[5]).toBe(answers[1]);
});

test('[SE22] given all statements in use, further requests wait up to the bound', async () => {
  const gates: PromiseWithResolvers<void>[] = [];
  const loader = createSnapshotLoader({
    findMany: async (ids) => {
      const gate = Promise.withResolvers<void>();
      gates.push(gate);
      await gate.promise;
      return ids.map(record);
    },
    maxConcurrent: 1,
    maxWaiting: 2,
  });
  const first = loader.load(newSessionId());
  await turn();
  const second = loader.load(newSessionId());
  const third = loader.load(newSessionId());
  await expect(loader.load(newSessionId())).rejects.toMatchObject({ code: 'OVERLOADED' });
  expect(gates).toHaveLength(1);
  gates[0]?.resolve();
  await first;
  await turn();
  gates[1]?.resolve();
  expect(await Promise.all([second, third])).toHaveLength(2);
  expect(gates).toHaveLength(2);
});

test('[SE22] given a failed statement, only its own requests fail', async () => {
  let fails = true;
  const loader = createSnapshotLoader({
    findMany: async (ids) => {
      if (fails) throw new Error('no database');
      return ids.map(record);
    },
    maxConcurrent: 1,
  });
  await expect(loader.load(newSessionId())).rejects.toThrow('no database');
  fails = false;
  await expect(loader.load(newSessionId())).resolves.toBeDefined();
});

test('[SE22] given a request beyond the deadline, it is overloaded and the statement is not repeated', async () => {
  const { promise, resolve } = Promise.withResolvers<never[]>();
  let statements = 0;
  const findMany = () => {
    statements += 1;
    return promise;
  };
  const loader = createSnapshotLoader({ maxConcurrent: 1, deadlineMs: 5, findMany });
  await expect(loader.load(newSessionId())).rejects.toMatchObject({ code: 'OVERLOADED' });
  resolve([]);
  expect(statements).toBe(1);
});
