/** Options of Centrifugo's namespaces that a groups file has under another name, or not at all, and what to do instead. */
const INSTEAD: Readonly<Record<string, string>> = {
  subscribe_proxy_enabled: 'is `subscribe_callback` here, with CALLBACK_SUBSCRIBE_URL',
  subscribe_proxy_name: 'is not supported: there is one address, CALLBACK_SUBSCRIBE_URL',
  publish_proxy_enabled: 'is `publish_callback` here, with CALLBACK_PUBLISH_URL',
  publish_proxy_name: 'is not supported: there is one address, CALLBACK_PUBLISH_URL',
  sub_refresh_proxy_enabled: 'is not supported: renew subscriptions by token (`sub_refresh`)',
  sub_refresh_proxy_name: 'is not supported: renew subscriptions by token (`sub_refresh`)',
  subscribe_stream_proxy_enabled: 'is not supported: publish by the server API',
  subscribe_stream_proxy_name: 'is not supported: publish by the server API',
  subscribe_stream_proxy_bidirectional: 'is not supported: publish by the server API',
  shared_poll: 'is not supported: publish by the server API',
};

/** The names of {@link INSTEAD}. */
export const RENAMED_OPTIONS: readonly string[] = Object.keys(INSTEAD);

const GUIDE = 'see docs/migrating-from-centrifugo.md';

/** What to say of a key that a groups file cannot have. */
export const unknownOption = (key: string): string => {
  if (key === 'channel')
    return `channel: give the object under it, with \`without_namespace\` and \`namespaces\``;
  const instead = INSTEAD[key];
  return instead === undefined ? `${key}: is not an option (${GUIDE})` : `${key}: ${instead} (${GUIDE})`;
};
