/** A word or phrase that is not used, and what is used instead. */
export interface Ban {
  readonly pattern: RegExp;
  readonly instead: string;
  /** Files in which it is the right word. */
  readonly except?: RegExp;
}

const word = (words: string, instead: string, except?: RegExp): Ban => ({
  pattern: new RegExp(`\\b(?:${words})\\b`, 'i'),
  instead,
  ...(except === undefined ? {} : { except }),
});

/** The table of Postgres that is called so; a socket has a send buffer. */
const OUTBOX =
  /session|telemetry|observability|operations|documents|chaos|sizing|security|CHANGELOG|^README|^ARCHITECTURE/;

/** Not in names nor in texts. */
const EVERYWHERE: readonly Ban[] = [
  word('told', 'notified, informed'),
  word('wish|wishes|wished', 'request'),
  word('turn ?down|turns? (?:down|away)|turned (?:down|away)', 'reject'),
  word('begin|begins|began|begun|beginning|beginnings', 'start'),
  word('strangers?', 'unregistered instance, unknown client'),
  word('desks?', 'operator, client'),
  word('troops?', 'process group, supervisor'),
  word('travel|travels|travell?ed', 'synthetic check; send'),
  word('journeys?', 'synthetic check'),
  word('chronicles?', 'uptime history'),
  word('laggards?', 'slow consumer'),
  word('slicers?', 'fan-out scheduler'),
  word('gather|gathers|gathered|gathering', 'batch, collect'),
  word('outbox(?:es)?', 'send buffer', OUTBOX),
  word('beat|beats', 'heartbeat'),
  word('gates?', 'authenticator, check'),
  word('crowd|crowds|crowded', 'connection limit, connections'),
  word('witness(?:es)?', 'last delivered'),
  word('doubts?|doubted|doubtful', 'unverified'),
  word('disown|disowns|disowned', 'invalidate'),
  word('canary|canaries', 'loopback probe'),
  word('song|songs|sing|sings|sang', 'probe'),
  word('sticky', 'pinned'),
  word('reunions?', 'reconnect'),
  word('judge|judges|judged|judging', 'decide, check, assess'),
  word('verdicts?', 'decision, status, result'),
  word('surroundings', 'environment'),
  word('goodbyes?', 'close'),
  word('leavers?', 'connection'),
  word('departures?', 'drain outcome, leave'),
  word('strains?|strained', 'degradation'),
  word('rosters?', 'instance registry'),
  word('people', 'users'),
  word('hear|hears|heard|hearing', 'receive, subscribe'),
  word('say|says|said|saying', 'report, state'),
  word('tell|tells|telling', 'notify, report'),
  word('ask|asks|asked|asking', 'query, request'),
  word('whoever|whomever', 'every client that, a client that'),
  word('nobody|somebody|everybody|anybody|someone|everyone|anyone', 'no client, every instance, a user'),
  word('knows', 'has, contains'),
  word('patience', 'timeout, grace period'),
  word('world|worlds', 'runtime'),
  word('(?<!black )holes?', 'gap'),
];

/** Not in names; in texts they have a plain meaning. */
export const BANNED_IN_NAMES: readonly Ban[] = [
  ...EVERYWHERE,
  word('places?', 'position, slot, router'),
  word('suspects?|trust|trusts|distrust', 'verified, unverified'),
  word('base', 'dependencies', /\.css$/),
  word('grounds?', 'dependencies, fixture'),
  word('words', 'labels'),
  word('past', 'history'),
  word('vain', 'timeout'),
  word('ones', 'a noun'),
  word('note routes', 'incident routes'),
];

/** Not in texts: interface, errors, logs, help, rules, documents, titles of tests. */
export const BANNED_IN_TEXTS: readonly Ban[] = [
  ...EVERYWHERE,
  word('(?<!\\b(?:in|takes?|took) )places?(?! of\\b)', 'position, slot'),
  word('(?:goes|go|went|going) on', 'continue'),
  word('(?:cannot|could not|can|could) be had', 'is not available'),
  word('just now|right now', 'currently'),
  word(
    '(?<!there )(?:is|are|was|were) no (?!longer\\b|more\\b|less\\b|later\\b|other\\b)[a-z]+',
    'is not a …, expected …',
  ),
  word('(?:comes?|came|coming) back', 'return, reconnect'),
  word('(?:is|are|was) over(?= *(?:$|[.,;:!?)]|and\\b))', 'has ended, is closed'),
  word('lives? on', 'remain, stay open'),
  word('in vain', 'without success'),
  word('the past', 'history'),
  word('lately', 'recent'),
  word(
    '(?:the|another|each|every|this|that|any|no|an?|its|new|old|last|first|good|same|own|other|next|which) one(?!-)',
    'a noun',
  ),
  word('ones', 'a noun'),
  { pattern: /(?:^|[.;:] )(?:\[[A-Z]+\d+\] )*who(?:m|se)?\b(?!.*\?)/i, instead: 'a noun as the subject' },
];

/** A comment starts with the noun or verb of the field. */
export const BANNED_IN_COMMENTS: readonly Ban[] = [
  ...BANNED_IN_TEXTS,
  { pattern: /^(?:what|who|whom|whose|whether|says|tells)\b/i, instead: 'a noun or verb first' },
];

/** `createSessionGate` → `create session gate`; `session.touch_failed` → `session touch failed`. */
export const spaced = (name: string): string =>
  name
    .replaceAll(/([a-z\d])([A-Z])/g, '$1 $2')
    .replaceAll(/([A-Z]+)([A-Z][a-z])/g, '$1 $2')
    .replaceAll(/[^A-Za-z]+/g, ' ')
    .trim();
