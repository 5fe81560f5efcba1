import type { FleetSnapshot } from '../../core/fleet-snapshot.ts';
import { WHOLE_FLEET } from '../../core/uptime-history.ts';
import { latency, shortAge, uptime } from '../format.ts';
import { Glyph } from '../icons.tsx';
import {
  headline,
  reasonLabel,
  SERVICE_STATUS_LABELS,
  STORE_STATUS_LABELS,
  SYNTHETIC_CHECK_LABELS,
} from '../labels.ts';
import { ageMs, fleet, isLive, isStale } from './fleet-store.ts';
import { UptimeDays } from './uptime-days.tsx';

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const STORE_NAMES: Readonly<Record<string, string>> = { database: 'Postgres', redis: 'Redis' };

/** The headline: the state of the whole fleet in one sentence, and how old that is. */
export const Overview = () => {
  const view = fleet.value;
  if (!view) return <Loading />;
  const stale = isStale.value;
  const { tone, word } = SERVICE_STATUS_LABELS[stale ? 'unknown' : view.status];
  return (
    <section class="overview" aria-labelledby="headline">
      <p class="status-line" role="status">
        <Glyph tone={tone} />
        <span>{stale ? 'No fresh data' : word}</span>
      </p>
      <h1 class="headline" id="headline">
        {stale ? 'No fresh word.' : headline(view)}
      </h1>
      <p class="lede">
        {stale ? 'The aggregator that this page hears has gone quiet.' : instanceSummary(view)}
      </p>
      <p class="as-of">
        <span class={`pulse ${isLive.value ? 'is-live' : ''}`} aria-hidden="true" />
        as of <span class="number">{shortAge(ageMs.value)}</span> ago
        {isLive.value ? '' : ' · connection lost, trying again'}
        {view.frozen ? ' · registry unreadable, membership frozen' : ''}
      </p>
      {stale && (
        <p class="banner" role="alert">
          This page shows the past. The last word is {shortAge(ageMs.value)} old, so nothing below is known to
          be true now.
        </p>
      )}
      {!stale && view.impact.length > 0 && <Impacts view={view} />}
      <Stores view={view} stale={stale} />
      {!stale && <UptimeDays service={WHOLE_FLEET} />}
    </section>
  );
};

/** What users cannot do, and since when. */
const Impacts = ({ view: { impact } }: { view: FleetSnapshot }) => (
  <ul class="impacts" role="alert">
    {impact.map(({ subject, since, users, reasons }) => (
      <li key={subject} data-impact={subject}>
        <strong>{users}</strong>
        <span class="quiet">
          {STORE_NAMES[subject] ?? subject} since{' '}
          <time dateTime={since}>{clock.format(Date.parse(since))}</time>, for{' '}
          {uptime(Date.now() - Date.parse(since))}
          {reasons.length > 0 ? ` · ${reasons.map(reasonLabel).join(', ')}` : ''}
        </span>
      </li>
    ))}
  </ul>
);

const Loading = () => (
  <section class="overview">
    <h1 class="headline">Calling the roll.</h1>
    <p class="lede">Waiting for the first answer of the aggregator.</p>
  </section>
);

const instanceSummary = (view: FleetSnapshot): string => {
  const instances = view.services.flatMap((service) => service.instances);
  const answering = instances.filter(({ state }) => state === 'up' || state === 'degraded').length;
  const missing = view.services.filter(({ total }) => total === 0).map(({ service }) => service);
  const text = `${answering} of ${instances.length} ${instances.length === 1 ? 'instance' : 'instances'} answer the call`;
  const leaving = instances.filter(({ state }) => state === 'draining').length;
  if (leaving > 0) return `${text}; ${leaving} ${leaving === 1 ? 'takes' : 'take'} no new clients.`;
  return missing.length === 0 ? `${text}.` : `${text}; nobody has reported for ${missing.join(', ')}.`;
};

const Stores = ({ view, stale }: { view: FleetSnapshot; stale: boolean }) => (
  <dl class="stores">
    {Object.entries(view.dependencies).map(([name, verdict]) => {
      const { tone, word } = STORE_STATUS_LABELS[stale ? 'unknown' : verdict.status] ?? {
        tone: 'unknown' as const,
        word: 'Unknown',
      };
      return (
        <div class="store" key={name} data-store={name}>
          <dt>{STORE_NAMES[name] ?? name}</dt>
          <dd>
            <Glyph tone={tone} />
            <span>{word}</span>
            {verdict.latencyMs !== undefined && !stale && verdict.status !== 'down' && (
              <span class="quiet number">{latency(verdict.latencyMs)}</span>
            )}
          </dd>
        </div>
      );
    })}
    {view.journey && !stale && (
      <div class="store" data-store="journey">
        <dt>Test message</dt>
        <dd>
          <Glyph tone={SYNTHETIC_CHECK_LABELS[view.journey.status].tone} />
          <span>{SYNTHETIC_CHECK_LABELS[view.journey.status].word}</span>
          {view.journey.status === 'ok' && view.journey.durationMs !== undefined ? (
            <span class="quiet number">{latency(view.journey.durationMs)}</span>
          ) : (
            <span class="quiet">at {view.journey.step}</span>
          )}
        </dd>
      </div>
    )}
  </dl>
);
