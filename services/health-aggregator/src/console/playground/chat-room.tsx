import { useSignal, useSignalEffect } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { type ChatMessage, connectionState, join, joinError, joinedGroup, messages, send } from './chat.ts';
import { identity } from './identity.ts';

const GROUP_NAME = '[A-Za-z0-9_.\\-]{1,64}';

/** Chat: group, messages, and a form to publish. */
export const ChatRoom = () => {
  const isOnline = connectionState.value.is === 'online';
  return (
    <section class="chat-room" aria-labelledby="room-title">
      <h3 id="room-title">{joinedGroup.value ? `Group ${joinedGroup.value}` : 'Group'}</h3>
      <JoinForm isOnline={isOnline} />
      {joinError.value && (
        <p class="notice is-error" role="alert">
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
      class="form-row"
      onSubmit={(event) => {
        event.preventDefault();
        join(name.value);
      }}
    >
      <label>
        <span class="field-label">Group</span>
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
  if (messages.value.length === 0) return <p class="message-list is-empty muted">{placeholderText()}</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable by keyboard.
    <ol class="message-list" ref={box} aria-live="polite" aria-label="Messages" tabIndex={0}>
      {messages.value.map((message) => (
        <MessageItem key={message.key} message={message} />
      ))}
    </ol>
  );
};

const placeholderText = (): string => {
  if (identity.value.is !== 'signed-in') return 'Create a session, then join a group.';
  if (!joinedGroup.value) return 'Join a group, and open this page in a second tab.';
  return 'No messages yet. Open this page in a second tab to chat across two gateways.';
};

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

const MessageItem = ({ message }: { message: ChatMessage }) => (
  <li class={`message ${message.isMine ? 'is-mine' : ''}`}>
    <p class="message-meta">
      <strong>{message.author}</strong>
      <span class="muted">
        {message.isMine ? 'this tab · ' : ''}
        {message.via ? `via ${message.via} · ` : ''}
        <time dateTime={new Date(message.at).toISOString()}>{clock.format(message.at)}</time>
      </span>
    </p>
    <p class="message-text">{message.text}</p>
  </li>
);

const Composer = ({ isOnline }: { isOnline: boolean }) => {
  const text = useSignal('');
  const failure = useSignal('');
  const submit = async (): Promise<void> => {
    const trimmed = text.value.trim();
    if (trimmed === '') return;
    failure.value = await send(trimmed);
    if (!failure.value) text.value = '';
  };
  return (
    <form
      class="form-row composer"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <label>
        <span class="field-label">Message</span>
        <input
          name="message"
          value={text.value}
          maxLength={2000}
          autocomplete="off"
          disabled={!isOnline}
          placeholder={isOnline ? 'Write a message' : ''}
          onInput={(event) => {
            text.value = event.currentTarget.value;
          }}
        />
      </label>
      <button type="submit" class="primary" disabled={!isOnline}>
        Send
      </button>
      {failure.value && (
        <p class="notice is-error" role="alert">
          {failure.value}
        </p>
      )}
    </form>
  );
};
