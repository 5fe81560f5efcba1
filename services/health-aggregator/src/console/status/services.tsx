import { LOAD_FRESH_MS } from '../../core/capacity.ts';
import type { InstanceSnapshot, ServiceSnapshot } from '../../core/fleet-snapshot.ts';
import { ConfirmButton } from '../confirm-button.tsx';
import { count, latency, shortAge, uptime } from '../format.ts';
import { Glyph } from '../icons.tsx';
import {
  INSTANCE_STATE_LABELS,
  reasonLabel,
  SERVICE_DESCRIPTIONS,
  SERVICE_STATUS_LABELS,
} from '../labels.ts';
import { operatorToken, sendOperatorCommand } from '../operator-token.ts';
import { Sparkline } from '../sparkline.tsx';
import { connectionTrend, fleet, isStale, sinceUpdateMs } from './fleet-store.ts';
import { OperatorBar } from './operator-bar.tsx';
import { UptimeDays } from './uptime-days.tsx';

const DrainButton = ({ instance: { name, state } }: { instance: InstanceSnapshot }) => {
  if (isStale.value || state === 'down') return null;
  if (state === 'draining') {
    return (
      <button type="button" class="order" onClick={() => void sendOperatorCommand(name, 'resume')}>
        Resume
        <span class="unseen"> {name}</span>
      </button>
    );
  }
  return (
    <ConfirmButton
      class="order"
      action="Drain"
      subject={name}
      consequence="It gets no new clients, and hands those it has over to others. Resume takes that back."
      onConfirm={(reason) => void sendOperatorCommand(name, 'drain', reason)}
    />
  );
};

/** Near its limit an instance shows how full it is instead of how it got there. */
const NEAR_LIMIT = 0.6;
const RANK = ['ws-gateway', 'session-service'];
const rank = ({ service }: ServiceSnapshot): number =>
  (RANK.indexOf(service) + RANK.length + 1) % (RANK.length + 1);
/** What clients touch comes first; the rest stays in the order of the answer. */
const byRank = (a: ServiceSnapshot, b: ServiceSnapshot): number => rank(a) - rank(b);

/** Every service with its instances, one line each, like names on a roll. */
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
  const { tone, word } = SERVICE_STATUS_LABELS[isStale.value ? 'unknown' : service.status];
  const showsLoad = service.instances.some(({ load }) => load['connections'] !== undefined);
  return (
    <article class="service" data-service={service.service}>
      <header class="service-head">
        <h2>{service.service}</h2>
        <p class="quiet">{SERVICE_DESCRIPTIONS[service.service] ?? ''}</p>
        <p class="service-status">
          <Glyph tone={tone} />
          <span>{word}</span>
          <span class="quiet number">
            {servingOf(service)}/{Math.max(service.expected, service.total)}
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
              <th scope="col">Loop delay</th>
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
      <UptimeDays service={service.service} />
    </article>
  );
};

const Instance = ({ instance, showsLoad }: { instance: InstanceSnapshot; showsLoad: boolean }) => {
  const { tone, word } = isStale.value
    ? { tone: 'unknown' as const, word: 'Unknown' }
    : INSTANCE_STATE_LABELS[instance.state];
  const remark = isStale.value ? '' : reasonLabel(instance.why);
  const running = Date.now() - Date.parse(instance.startedAt);
  return (
    <tr data-instance={instance.name} data-state={instance.state}>
      <th scope="row">{instance.name}</th>
      <td class="state" data-label="State">
        <Glyph tone={tone} />
        <span>{word}</span>
        {remark && <span class="remark">{remark}</span>}
        {operatorToken.value && <DrainButton instance={instance} />}
      </td>
      {showsLoad ? (
        <td class="number" data-label="Connections">
          {isOutdated(instance) ? 'unknown' : <Connections instance={instance} />}
        </td>
      ) : (
        <td class="no-load" />
      )}
      <td class="number" data-label="Loop delay">
        <LoopDelay instance={instance} />
      </td>
      <td class="number" data-label="Last beat">
        {shortAge(instance.beatAgeMs + sinceUpdateMs.value)}
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

/** How late the event loop came to its work: the worst but one of a hundred times. */
const LoopDelay = ({ instance }: { instance: InstanceSnapshot }) => {
  const { load, name } = instance;
  const delay = load['loopP99Ms'];
  const busy = load['loopUtilisation'];
  if (delay === undefined || isOutdated(instance)) return <>–</>;
  const label = busy === undefined ? '' : `${name}: busy ${Math.round(busy * 100)} % of the time`;
  return <span title={label}>{latency(delay)}</span>;
};

/** True when the numbers of the last beat are not those of now; while the registry cannot be read no new beat comes. */
const isOutdated = ({ state, beatAgeMs }: InstanceSnapshot): boolean =>
  isStale.value ||
  fleet.value?.frozen === true ||
  state === 'down' ||
  beatAgeMs + sinceUpdateMs.value > LOAD_FRESH_MS;

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
          label={`${used} connections now, last five minutes`}
        />
      )}
    </span>
  );
};
