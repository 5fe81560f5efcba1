import type { InstanceView, ServiceView } from '../../core/view.ts';
import { count, shortAge, uptime } from '../format.ts';
import { Glyph } from '../glyph.tsx';
import { PURPOSES, reason, STATES, STATUSES } from '../words.ts';
import { fleet, isStale, sinceMs } from './store.ts';

const RANK = ['ws-gateway', 'session-service'];
const rank = ({ service }: ServiceView): number =>
  (RANK.indexOf(service) + RANK.length + 1) % (RANK.length + 1);
/** What clients touch comes first; the rest stays in the order of the answer. */
const byRank = (a: ServiceView, b: ServiceView): number => rank(a) - rank(b);

/** Every service with its instances, one line each, like names on a roll. */
export const Services = () => {
  const view = fleet.value;
  if (!view) return null;
  return (
    <section class={`services ${isStale.value ? 'is-stale' : ''}`} aria-label="Services">
      {view.services.toSorted(byRank).map((service) => (
        <Service key={service.service} service={service} />
      ))}
    </section>
  );
};

const Service = ({ service }: { service: ServiceView }) => {
  const { tone, word } = STATUSES[isStale.value ? 'unknown' : service.status];
  const showsLoad = service.instances.some(({ load }) => load['connections'] !== undefined);
  return (
    <article class="service" data-service={service.service}>
      <header class="service-head">
        <h2>{service.service}</h2>
        <p class="quiet">{PURPOSES[service.service] ?? ''}</p>
        <p class="service-status">
          <Glyph tone={tone} />
          <span>{word}</span>
          <span class="quiet number">
            {service.up}/{Math.max(service.expected, service.total)}
          </span>
        </p>
      </header>
      {service.instances.length === 0 ? (
        <p class="empty">Nobody has reported yet.</p>
      ) : (
        <table class="roll">
          <thead>
            <tr>
              <th scope="col">Instance</th>
              <th scope="col">State</th>
              <th scope="col">{showsLoad ? 'Connections' : ''}</th>
              <th scope="col">Last beat</th>
              <th scope="col">Running</th>
              <th scope="col">Version</th>
            </tr>
          </thead>
          <tbody>
            {service.instances.map((instance) => (
              <Instance key={instance.id} instance={instance} showsLoad={showsLoad} />
            ))}
          </tbody>
        </table>
      )}
    </article>
  );
};

const Instance = ({ instance, showsLoad }: { instance: InstanceView; showsLoad: boolean }) => {
  const { tone, word } = isStale.value
    ? { tone: 'unknown' as const, word: 'Unknown' }
    : STATES[instance.state];
  const remark = isStale.value ? '' : reason(instance.why);
  const running = Date.now() - Date.parse(instance.startedAt);
  return (
    <tr data-instance={instance.name} data-state={instance.state}>
      <th scope="row">{instance.name}</th>
      <td class="state" data-label="State">
        <Glyph tone={tone} />
        <span>{word}</span>
        {remark && <span class="remark">{remark}</span>}
      </td>
      {showsLoad ? (
        <td class="number" data-label="Connections">
          {instance.state === 'down' ? '–' : <Connections load={instance.load} />}
        </td>
      ) : (
        <td class="no-load" />
      )}
      <td class="number" data-label="Last beat">
        {shortAge(instance.beatAgeMs + sinceMs.value)}
      </td>
      <td class="number" data-label="Running">
        {instance.state === 'down' ? '–' : uptime(running)}
      </td>
      <td class="number" data-label="Version">
        {instance.version}
      </td>
    </tr>
  );
};

const Connections = ({ load }: { load: InstanceView['load'] }) => {
  const used = load['connections'];
  const limit = load['connectionsLimit'];
  if (used === undefined) return <>–</>;
  if (!limit) return <>{count(used)}</>;
  return (
    <span class="gauge">
      <span>{count(used)}</span>
      <meter
        min={0}
        max={limit}
        high={limit * 0.85}
        value={used}
        aria-label={`${used} of ${limit} connections`}
      />
    </span>
  );
};
