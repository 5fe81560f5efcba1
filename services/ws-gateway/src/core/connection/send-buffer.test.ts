import { expect, test, vi } from 'vitest';
import { FakeWire, settle } from '../engine-fixture.ts';
import { jsonCodec } from './codec.ts';
import { textFrame } from './frame.ts';
import { SendBuffer } from './send-buffer.ts';
import { createTicks } from './ticks.ts';

const frameOf = (value: number): Buffer => textFrame(Buffer.from(String(value)));

const outboxUnderTest = (maxBytes = 1_000_000) => {
  const wire = new FakeWire();
  const slow = vi.fn();
  const ticks = createTicks();
  const outbox = new SendBuffer(wire, jsonCodec, maxBytes, { isOver: false, onSlow: slow }, ticks);
  return { wire, outbox, slow, ticks };
};

test('[OB8] answers and the publication that comes with them are one write, in order', async () => {
  const { wire, outbox } = outboxUnderTest();
  outbox.post('1');
  outbox.post('2');
  expect(outbox.offer(frameOf(3))).toBe(true);
  expect(wire.writes).toBe(1);
  await settle();
  expect([wire.writes, wire.frames]).toEqual([1, 2]);
  expect(wire.take()).toEqual([1, 2, 3]);
});

test('[OB8] answers without a publication go at the end of the turn, and before anything that is written later', async () => {
  const { wire, outbox } = outboxUnderTest();
  outbox.post('1');
  await settle();
  expect(wire.take()).toEqual([1]);
  outbox.post('2');
  outbox.write(frameOf(3));
  outbox.post('4');
  await settle();
  expect(wire.take()).toEqual([2, 3, 4]);
});

test('[OB8] a publication that does not fit takes no answer with it', async () => {
  const { wire, outbox, slow } = outboxUnderTest(20);
  wire.bufferedBytes = 10;
  outbox.post('1');
  expect(outbox.offer(textFrame(Buffer.from('"a publication of some length"')))).toBe(false);
  await settle();
  expect(wire.take()).toEqual([1]);
  expect(slow).not.toHaveBeenCalled();
});

test('[OB8] a long publication is not copied for the sake of an answer', async () => {
  const { wire, outbox } = outboxUnderTest();
  outbox.post('1');
  expect(outbox.offer(textFrame(Buffer.from(`"${'x'.repeat(20_000)}"`)))).toBe(true);
  expect([wire.writes, wire.frames]).toEqual([2, 2]);
});

const unread = (maxBytes: number) => {
  const parts = outboxUnderTest(maxBytes);
  parts.wire.isRead = false;
  return parts;
};
const long = (bytes: number): Buffer => textFrame(Buffer.from(`"${'x'.repeat(bytes - 2)}"`));

test('[OB9] when nothing waits one frame of any size is taken, and the bound counts what comes behind it', () => {
  const { wire, outbox, slow } = unread(1_000);
  expect(outbox.offer(long(200_000))).toBe(true);
  expect(outbox.offer(long(900))).toBe(true);
  expect(outbox.offer(long(900))).toBe(false);
  outbox.write(frameOf(1));
  expect(slow).not.toHaveBeenCalled();
  wire.read();
  expect(outbox.offer(long(900))).toBe(true);
  expect(outbox.offer(long(900))).toBe(false);
  outbox.write(long(300_000));
  expect(slow).toHaveBeenCalledOnce();
});

test('[OB10] of large answers that are asked for at once one is made at a time, when the one before is read', async () => {
  const { wire, outbox, slow, ticks } = unread(100_000);
  const made: number[] = [];
  const all = [1, 2, 3].map((n) =>
    outbox.inTurn(async () => {
      made.push(n);
      outbox.post(JSON.stringify('x'.repeat(400_000)));
    }),
  );
  await settle();
  ticks.tick();
  await settle();
  expect(made).toEqual([1]);
  for (const until of [2, 3]) {
    wire.read();
    ticks.tick();
    await settle();
    expect(made.length).toBe(until);
  }
  await Promise.all(all);
  expect(slow).not.toHaveBeenCalled();
});

test('[OB10] an answer that could not be made holds up none after it', async () => {
  const { outbox } = outboxUnderTest();
  const failed = outbox.inTurn(() => Promise.reject(new Error('away')));
  const next = outbox.inTurn(async () => outbox.post('2'));
  await expect(failed).rejects.toThrow('away');
  await next;
});
