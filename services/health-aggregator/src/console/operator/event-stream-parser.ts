/** A server-sent event. */
export interface TextEvent {
  readonly event: string;
  readonly data: string;
}

/** Parses server-sent events, whatever the chunk boundaries. `EventSource` cannot send an Authorization header. */
export async function* eventsOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<TextEvent> {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + decoder.decode(value, { stream: true })).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const event = parse(block);
      if (event) yield event;
    }
  }
}

const parse = (block: string): TextEvent | undefined => {
  let event = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    if (line.startsWith('event: ')) event = line.slice('event: '.length);
    else if (line.startsWith('data: ')) data.push(line.slice('data: '.length));
  }
  return data.length === 0 ? undefined : { event, data: data.join('\n') };
};
