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

/** Status of the fleet, its age, its impact on users, and the stores. */
export const Overview = () => {
  const view = fleet.value;
  if (!view) return <Loading />;
  const stale = isStale.value;
  const { tone, label } = SERVICE_STATUS_LABELS[stale ? 'unknown' : view.status];
  return (
    <section class="overview" aria-labelledby="headline">
      <p class="status-line" role="status">
        <Glyph tone={tone} />
        <span>{stale ? 'Stale' : label}</span>
      </p>
      <h1 class="headline" id="headline">
        {stale ? 'Data is stale' : headline(view)}
      </h1>
      <p class="subtitle">{stale ? 'No update from the aggregator.' : instanceSummary(view)}</p>
      <p class="as-of">
        <span class={`live-dot ${isLive.value ? 'is-live' : ''}`} aria-hidden="true" />
        updated <span class="number">{shortAge(ageMs.value)}</span> ago
        {isLive.value ? '' : ' · connection lost, reconnecting'}
        {view.frozen ? ' · registry unavailable, membership frozen' : ''}
      </p>
      {stale && (
        <p class="banner" role="alert">
          This page is out of date. The last update is {shortAge(ageMs.value)} old; the values below may have changed.
        </p>
      )}
      {!stale && view.impact.length > 0 && <Impacts view={view} />}
      <Stores view={view} stale={stale} />
      {!stale && <UptimeDays service={WHOLE_FLEET} />}
    </section>
  );
};

/** Impact on users: what fails, and since when. */
const Impacts = ({ view: { impact } }: { view: FleetSnapshot }) => (
  <ul class="impacts" role="alert">
    {impact.map(({ subject, since, users, reasons }) => (
      <li key={subject} data-impact={subject}>
        <strong>{users}</strong>
        <span class="muted">
          {STORE_NAMES[subject] ?? subject} since <time dateTime={since}>{clock.format(Date.parse(since))}</time>, for{' '}
          {uptime(Date.now() - Date.parse(since))}
          {reasons.length > 0 ? ` · ${reasons.map(reasonLabel).join(', ')}` : ''}
        </span>
      </li>
    ))}
  </ul>
);

const Loading = () => (
  <section class="overview">
    <h1 class="headline">Loading…</h1>
    <p class="subtitle">Waiting for the first response of the aggregator.</p>
  </section>
);

const instanceSummary = (view: FleetSnapshot): string => {
  const instances = view.services.flatMap((service) => service.instances);
  const serving = instances.filter(({ state }) => state === 'up' || state === 'degraded').length;
  const missing = view.services.filter(({ total }) => total === 0).map(({ service }) => service);
  const text = `${serving} of ${instances.length} ${instances.length === 1 ? 'instance is' : 'instances are'} serving`;
  const draining = instances.filter(({ state }) => state === 'draining').length;
  if (draining > 0) return `${text}; ${draining} draining.`;
  return missing.length === 0 ? `${text}.` : `${text}; no heartbeat from ${missing.join(', ')}.`;
};

const Stores = ({ view, stale }: { view: FleetSnapshot; stale: boolean }) => (
  <dl class="facts">
    {Object.entries(view.dependencies).map(([name, store]) => {
      const { tone, label } = STORE_STATUS_LABELS[stale ? 'unknown' : store.status] ?? {
        tone: 'unknown' as const,
        label: 'Unknown',
      };
      return (
        <div class="fact" key={name} data-fact={name}>
          <dt>{STORE_NAMES[name] ?? name}</dt>
          <dd>
            <Glyph tone={tone} />
            <span>{label}</span>
            {store.latencyMs !== undefined && !stale && store.status !== 'down' && (
              <span class="muted number">{latency(store.latencyMs)}</span>
            )}
          </dd>
        </div>
      );
    })}
    {view.journey && !stale && (
      <div class="fact" data-fact="synthetic-check">
        <dt>Synthetic check</dt>
        <dd>
          <Glyph tone={SYNTHETIC_CHECK_LABELS[view.journey.status].tone} />
          <span>{SYNTHETIC_CHECK_LABELS[view.journey.status].label}</span>
          {view.journey.status === 'ok' && view.journey.durationMs !== undefined ? (
            <span class="muted number">{latency(view.journey.durationMs)}</span>
          ) : (
            <span class="muted">failed at {view.journey.step}</span>
          )}
        </dd>
      </div>
    )}
  </dl>
);
