import { expect, test } from 'vitest';
import { eventsOf } from './event-stream-parser.ts';

test('[CO12] given any chunk boundary, also inside a character, every event is complete', async () => {
  const text =
    'event: joined\ndata: {"gateway":"gw-☂"}\n\n: still here\n\nevent: publication\ndata: {"data":1}\n\n';
  const all = new TextEncoder().encode(text);
  for (const size of [1, 2, 3, 7, all.length]) {
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        for (let at = 0; at < all.length; at += size) controller.enqueue(all.slice(at, at + size));
        controller.close();
      },
    });
    expect(await Array.fromAsync(eventsOf(stream))).toEqual([
      { event: 'joined', data: '{"gateway":"gw-☂"}' },
      { event: 'publication', data: '{"data":1}' },
    ]);
  }
});
