import { type UptimeDay, WHOLE_FLEET, worstStatusOf } from '../../core/uptime-history.ts';
import { SERVICE_STATUS_LABELS } from '../labels.ts';
import { history } from './history-store.ts';

const GAP = 1;
const BAR = 4;
const HEIGHT = 22;

/** Uptime of a service, one bar per day for 90 days. The height shows the status without colour. */
export const UptimeDays = ({ service }: { service: string }) => {
  const uptime = history.value.find((each) => each.service === service);
  if (!uptime) return null;
  const width = uptime.days.length * (BAR + GAP) - GAP;
  // For the fleet any outage counts; for a service, only time without a serving instance.
  const measure = service === WHOLE_FLEET ? 'without an outage' : 'reachable';
  const share = uptime.availability === null ? 'no data yet' : `${percent(uptime.availability)} ${measure}`;
  return (
    <figure class="uptime-days">
      <svg viewBox={`0 0 ${width} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`90 days: ${share}`}>
        {uptime.days.map((day, index) => (
          <Bar key={day.date} day={day} x={index * (BAR + GAP)} />
        ))}
      </svg>
      <figcaption>
        <span>90 days ago</span>
        <span class="number">{share}</span>
        <span>today</span>
      </figcaption>
    </figure>
  );
};

const SHARES = {
  operational: 1,
  degraded: 0.75,
  partial_outage: 0.55,
  major_outage: 0.35,
  unknown: 0.2,
} as const;

const Bar = ({ day, x }: { day: UptimeDay; x: number }) => {
  const worst = worstStatusOf(day);
  const height = HEIGHT * (worst ? SHARES[worst] : 0.12);
  return (
    <rect
      class={worst ? `bar-${SERVICE_STATUS_LABELS[worst].tone}` : 'bar-none'}
      x={x}
      y={HEIGHT - height}
      width={BAR}
      height={height}
      rx={1}
    >
      <title>{`${day.date}: ${worst ? SERVICE_STATUS_LABELS[worst].label.toLowerCase() : 'not observed'}`}</title>
    </rect>
  );
};

const percent = (share: number): string =>
  share === 1 ? '100 %' : `${(Math.floor(share * 100_000) / 1_000).toFixed(share > 0.999 ? 3 : 2)} %`;
