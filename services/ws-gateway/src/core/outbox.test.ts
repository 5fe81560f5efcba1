import { expect, test, vi } from 'vitest';
import { jsonCodec } from './codec.ts';
import { textFrame } from './frame.ts';
import { Outbox } from './outbox.ts';
import { FakeWire, settle } from './testing.ts';

const frameOf = (value: number): Buffer => textFrame(Buffer.from(String(value)));

const outboxUnderTest = (maxBytes = 1_000_000) => {
  const wire = new FakeWire();
  const slow = vi.fn();
  const outbox = new Outbox(wire, jsonCodec, maxBytes, { onSlow: slow });
  return { wire, outbox, slow };
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
