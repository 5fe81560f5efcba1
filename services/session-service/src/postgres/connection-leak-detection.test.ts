import { expect, test, vi } from 'vitest';
import { createLeakDetector } from './connection-leak-detection.ts';

const setUp = (limits: { warnMs: number; cutMs: number }) => {
  const lines: { event: string; fields: Record<string, unknown> }[] = [];
  const note = (fields: object, event: string) => void lines.push({ event, fields: { ...fields } });
  const log = { debug: note, info: note, warn: note, error: note, child: () => log };
  const onLeak = vi.fn();
  return { checkouts: createLeakDetector({ log, onLeak, ...limits }), lines, onLeak };
};

/** Stands for the code of an application. */
const carelessHolder = (take: () => unknown) => take();

test('[DB7] given a checkout beyond both limits, it is reported once with its holder and then cut', async () => {
  const { checkouts, lines, onLeak } = setUp({ warnMs: 5, cutMs: 40 });
  const cut = Promise.withResolvers<void>();
  carelessHolder(() => checkouts.track(cut.resolve));
  await cut.promise;
  expect(onLeak).toHaveBeenCalledOnce();
  expect(lines.map(({ event }) => event)).toEqual(['postgres.connection_held', 'postgres.connection_cut']);
  expect(lines[0]?.fields['holder']).toContain('carelessHolder');
  expect(checkouts.oldest()).toBeUndefined();
});

test('[DB7] given checkouts that are released in time, nothing is reported', async () => {
  const { checkouts, lines } = setUp({ warnMs: 20, cutMs: 1_000 });
  const first = checkouts.track(() => {});
  const second = checkouts.track(() => {});
  expect(checkouts.oldest()?.holder).toContain('leak-detection.test.ts');
  first();
  second();
  expect(checkouts.oldest()).toBeUndefined();
  expect(lines).toEqual([]);
});
