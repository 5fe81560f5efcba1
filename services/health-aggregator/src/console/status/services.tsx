import { LOAD_FRESH_MS } from '../../core/capacity.ts';
import type { InstanceSnapshot, ServiceSnapshot } from '../../core/fleet-snapshot.ts';
import { ConfirmButton } from '../confirm-button.tsx';
import { count, latency, shortAge, uptime } from '../format.ts';
import { Glyph } from '../icons.tsx';
import { INSTANCE_STATE_LABELS, reasonLabel, SERVICE_DESCRIPTIONS, SERVICE_STATUS_LABELS } from '../labels.ts';
import { sendOperatorCommand } from '../operator-api.ts';
import { OperatorBar } from '../operator-sign-in.tsx';
import { operatorToken } from '../operator-token.ts';
import { Sparkline } from '../sparkline.tsx';
import { connectionTrend, fleet, isStale, sinceUpdateMs } from './fleet-store.ts';
import { UptimeDays } from './uptime-days.tsx';

const DrainButton = ({ instance: { name, state } }: { instance: InstanceSnapshot }) => {
  if (isStale.value || state === 'down') return null;
  if (state === 'draining') {
    return (
      <button type="button" class="drain-button" onClick={() => void sendOperatorCommand(name, 'resume')}>
        Resume
        <span class="visually-hidden"> {name}</span>
      </button>
    );
  }
  return (
    <ConfirmButton
      class="drain-button"
      action="Drain"
      subject={name}
      consequence="New clients are routed to other instances, and connected clients are moved there. Resume reverts this."
      onConfirm={(reason) => void sendOperatorCommand(name, 'drain', reason)}
    />
  );
};

/** Share of the connection limit above which a gauge replaces the sparkline. */
const NEAR_LIMIT = 0.6;
const RANK = ['ws-gateway', 'session-service'];
const rank = ({ service }: ServiceSnapshot): number => (RANK.indexOf(service) + RANK.length + 1) % (RANK.length + 1);
/** Services that clients connect to come first; the others keep the order of the response. */
const byRank = (a: ServiceSnapshot, b: ServiceSnapshot): number => rank(a) - rank(b);

/** Services, each with a table of its instances. */
export const Services = () => {
  const view = fleet.value;
  if (!view) return null;
  return (
    <section class={`services ${isStale.value ? 'is-stale' : ''}`} aria-label="Services">
      {view.services.toSorted(byRank).map((service) => (
        <Service key={service.service} service={service} />
      ))}
      <OperatorBar />
    </section>
  );
};

const servingOf = ({ instances }: ServiceSnapshot): number =>
  instances.filter(({ state }) => state === 'up' || state === 'degraded').length;

const Service = ({ service }: { service: ServiceSnapshot }) => {
  const { tone, label } = SERVICE_STATUS_LABELS[isStale.value ? 'unknown' : service.status];
  const showsLoad = service.instances.some(({ load }) => load['connections'] !== undefined);
  return (
    <article class="service" data-service={service.service}>
      <header class="service-head">
        <h2>{service.service}</h2>
        <p class="muted">{SERVICE_DESCRIPTIONS[service.service] ?? ''}</p>
        <p class="service-status">
          <Glyph tone={tone} />
          <span>{label}</span>
          <span class="muted number">
            {servingOf(service)}/{Math.max(service.expected, service.total)}
          </span>
        </p>
      </header>
      {service.instances.length === 0 ? (
        <p class="empty">No instance has registered yet.</p>
      ) : (
        <table class="data-table">
          <thead>
            <tr>
              <th scope="col">Instance</th>
              <th scope="col">State</th>
              <th scope="col">{showsLoad ? 'Connections' : ''}</th>
              <th scope="col">Loop p99</th>
              <th scope="col">Heartbeat</th>
              <th scope="col">Uptime</th>
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
      <UptimeDays service={service.service} />
    </article>
  );
};

const Instance = ({ instance, showsLoad }: { instance: InstanceSnapshot; showsLoad: boolean }) => {
  const { tone, label } = isStale.value
    ? { tone: 'unknown' as const, label: 'Unknown' }
    : INSTANCE_STATE_LABELS[instance.state];
  const stateReason = isStale.value ? '' : reasonLabel(instance.why);
  const uptimeMs = Date.now() - Date.parse(instance.startedAt);
  return (
    <tr data-instance={instance.name} data-state={instance.state}>
      <th scope="row">{instance.name}</th>
      <td class="state" data-label="State">
        <Glyph tone={tone} />
        <span>{label}</span>
        {stateReason && <span class="state-reason">{stateReason}</span>}
        {operatorToken.value && <DrainButton instance={instance} />}
      </td>
      {showsLoad ? (
        <td class="number" data-label="Connections">
          {isOutdated(instance) ? 'unknown' : <Connections instance={instance} />}
        </td>
      ) : (
        <td class="no-load" />
      )}
      <td class="number" data-label="Loop p99">
        <LoopDelay instance={instance} />
      </td>
      <td class="number" data-label="Heartbeat">
        {shortAge(instance.beatAgeMs + sinceUpdateMs.value)}
      </td>
      <td class="number" data-label="Uptime">
        {instance.state === 'down' ? '–' : uptime(uptimeMs)}
      </td>
      <td class="number" data-label="Version">
        {instance.version}
      </td>
    </tr>
  );
};

/** Event loop delay, 99th percentile. */
const LoopDelay = ({ instance }: { instance: InstanceSnapshot }) => {
  const { load, name } = instance;
  const delay = load['loopP99Ms'];
  const busy = load['loopUtilisation'];
  if (delay === undefined || isOutdated(instance)) return <>–</>;
  const label = busy === undefined ? '' : `${name}: event loop ${Math.round(busy * 100)} % utilised`;
  return <span title={label}>{latency(delay)}</span>;
};

/** True when the load in the last heartbeat is out of date. An unavailable registry delivers no new heartbeats. */
const isOutdated = ({ state, beatAgeMs }: InstanceSnapshot): boolean =>
  isStale.value || fleet.value?.frozen === true || state === 'down' || beatAgeMs + sinceUpdateMs.value > LOAD_FRESH_MS;

const Connections = ({ instance }: { instance: InstanceSnapshot }) => {
  const used = instance.load['connections'];
  const limit = instance.load['connectionsLimit'];
  if (used === undefined) return <>–</>;
  return (
    <span class="gauge" title={limit ? `${count(used)} of ${count(limit)}` : ''}>
      <span>{count(used)}</span>
      {limit && used > limit * NEAR_LIMIT ? (
        <meter
          min={0}
          max={limit}
          high={limit * NEAR_LIMIT}
          value={used}
          aria-label={`${used} of ${limit} connections`}
        />
      ) : (
        <Sparkline
          values={connectionTrend(instance.id)}
          label={`${used} connections, trend of the last five minutes`}
        />
      )}
    </span>
  );
};
