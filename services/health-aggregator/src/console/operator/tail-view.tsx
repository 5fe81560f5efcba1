import { useSignalEffect } from '@preact/signals';
import { useRef } from 'preact/hooks';
import type { GroupAddress } from '../../core/operator-ports.ts';
import { startTail, stopTail, type TailLine, tailLines, tailStatus } from './tail-store.ts';

const MAX_TEXT = 2_000;
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** Live publications of a group. */
export const Tail = ({ address }: { address: GroupAddress }) => {
  const box = useRef<HTMLOListElement>(null);
  useSignalEffect(() => {
    if (tailLines.value.length === 0) return;
    requestAnimationFrame(() => box.current?.scrollTo({ top: box.current.scrollHeight }));
  });
  const now = tailStatus.value;
  return (
    <section class="tail" aria-labelledby="tail-title">
      <header class="tail-head">
        <h2 id="tail-title">Live tail</h2>
        <p class="muted" role="status" data-tail={now.is}>
          {now.is === 'on' ? `connected through ${now.gateway}` : now.is === 'connecting' ? 'connecting…' : ''}
        </p>
        <button type="button" onClick={() => (now.is === 'off' ? startTail(address) : stopTail())}>
          {now.is === 'off' ? 'Start' : 'Stop'}
        </button>
      </header>
      {tailLines.value.length === 0 ? (
        <p class="message-list is-empty muted">
          {now.is === 'off' ? 'The tail is stopped.' : 'No publications since the tail started.'}
        </p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable by keyboard.
        <ol class="message-list" ref={box} aria-label={`Publications of ${address.group}`} tabIndex={0}>
          {tailLines.value.map((line) => (
            <Line key={line.key} line={line} />
          ))}
        </ol>
      )}
    </section>
  );
};

const Line = ({ line }: { line: TailLine }) => (
  <li class={`tail-line ${line.is === 'notice' ? 'is-notice muted' : ''}`}>
    <span class="muted number">
      <time dateTime={new Date(line.at).toISOString()}>{clock.format(line.at)}</time>
      {line.is === 'publication' && line.offset !== undefined ? ` · ${line.offset}` : ''}
      {line.is === 'publication' && line.user !== '' ? ` · ${line.user}` : ''}
    </span>
    {line.is === 'notice' ? line.text : <code>{textOf(line.data)}</code>}
  </li>
);

const textOf = (data: unknown): string => {
  const text = JSON.stringify(data) ?? '';
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
};
