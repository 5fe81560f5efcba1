import { useSignal, useSignalEffect } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { connectionState, join, joinError, joinedGroup, type Message, messages, send } from './chat.ts';
import { identity } from './identity.ts';

const GROUP_NAME = '[A-Za-z0-9_.\\-]{1,64}';

/** The chat: which group, what was said, and a line to write. */
export const ChatRoom = () => {
  const isOnline = connectionState.value.is === 'online';
  return (
    <section class="room" aria-labelledby="room-title">
      <h3 id="room-title">{joinedGroup.value ? `Group ${joinedGroup.value}` : 'A group'}</h3>
      <JoinForm isOnline={isOnline} />
      {joinError.value && (
        <p class="notice is-bad" role="alert">
          {joinError.value}
        </p>
      )}
      <MessageList />
      <Composer isOnline={isOnline && joinedGroup.value !== ''} />
    </section>
  );
};

const JoinForm = ({ isOnline }: { isOnline: boolean }) => {
  const name = useSignal('lobby');
  return (
    <form
      class="bar"
      onSubmit={(event) => {
        event.preventDefault();
        join(name.value);
      }}
    >
      <label>
        <span class="label">Group</span>
        <input
          name="group"
          value={name.value}
          pattern={GROUP_NAME}
          maxLength={64}
          required
          autocomplete="off"
          spellcheck={false}
          onInput={(event) => {
            name.value = event.currentTarget.value;
          }}
        />
      </label>
      <button type="submit" disabled={!isOnline}>
        {joinedGroup.value ? 'Switch' : 'Join'}
      </button>
    </form>
  );
};

const MessageList = () => {
  const box = useRef<HTMLOListElement>(null);
  useSignalEffect(() => {
    if (messages.value.length === 0) return;
    requestAnimationFrame(() => box.current?.scrollTo({ top: box.current.scrollHeight }));
  });
  if (messages.value.length === 0) return <p class="talk is-empty quiet">{placeholderText()}</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable by keyboard.
    <ol class="talk" ref={box} aria-live="polite" aria-label="Messages" tabIndex={0}>
      {messages.value.map((message) => (
        <MessageItem key={message.key} message={message} />
      ))}
    </ol>
  );
};

const placeholderText = (): string => {
  if (identity.value.is !== 'somebody') return 'Get a session first; then join a group here.';
  if (!joinedGroup.value) return 'Join a group, open this page in a second tab, and say something.';
  return 'Nothing said yet. Open this page in a second tab and talk to yourself across two gateways.';
};

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

const MessageItem = ({ message }: { message: Message }) => (
  <li class={`said ${message.isMine ? 'is-mine' : ''}`}>
    <p class="said-by">
      <strong>{message.author}</strong>
      <span class="quiet">
        {message.isMine ? 'this tab · ' : ''}
        {message.via ? `via ${message.via} · ` : ''}
        <time dateTime={new Date(message.at).toISOString()}>{clock.format(message.at)}</time>
      </span>
    </p>
    <p class="said-text">{message.text}</p>
  </li>
);

const Composer = ({ isOnline }: { isOnline: boolean }) => {
  const text = useSignal('');
  const failure = useSignal('');
  const submit = async (): Promise<void> => {
    const said = text.value.trim();
    if (said === '') return;
    failure.value = await send(said);
    if (!failure.value) text.value = '';
  };
  return (
    <form
      class="bar composer"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <label>
        <span class="label">Message</span>
        <input
          name="message"
          value={text.value}
          maxLength={2000}
          autocomplete="off"
          disabled={!isOnline}
          placeholder={isOnline ? 'Say something' : ''}
          onInput={(event) => {
            text.value = event.currentTarget.value;
          }}
        />
      </label>
      <button type="submit" class="primary" disabled={!isOnline}>
        Send
      </button>
      {failure.value && (
        <p class="notice is-bad" role="alert">
          {failure.value}
        </p>
      )}
    </form>
  );
};
