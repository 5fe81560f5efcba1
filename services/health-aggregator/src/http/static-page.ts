import type { FleetSnapshot, ServiceSnapshot } from '../core/fleet-snapshot.ts';
import type { Incident } from '../core/incidents.ts';
import { type ServiceStatus, STATUS_PROJECTION } from '../core/status.ts';
import { type UptimeDay, worstStatusOf } from '../core/uptime-history.ts';

const BAR = 4;
const HEIGHT = 22;
const TONES: Readonly<Record<ServiceStatus, string>> = {
  operational: 'ok',
  degraded: 'warning',
  partial_outage: 'major',
  major_outage: 'critical',
  unknown: 'unknown',
};
const SHOWN_INCIDENTS = 5;

/** Content of the page without scripts. */
export interface PageFacts {
  readonly fleet: FleetSnapshot;
  readonly days: ReadonlyMap<string, readonly UptimeDay[]>;
  readonly incidents: readonly Incident[];
}

/** The status as HTML, for browsers without scripts and until the console has loaded. All values are escaped. */
export const staticPage = ({ fleet, days, incidents }: PageFacts): string => `<main class="page">
<section class="overview">
<p class="status-line">${STATUS_PROJECTION[fleet.status].text}</p>
<h1 class="headline">${escapeHtml(headlineOf(fleet))}</h1>
<p class="subtitle">Fleet ${escapeHtml(fleet.fleet)}, as of ${fleet.asOf}.</p>
<noscript><p>Without JavaScript this page reloads every 30 seconds. The data is at
<a href="/health">/health</a> and <a href="/v1/fleet">/v1/fleet</a>.</p></noscript>
</section>
<section class="services">${fleet.services.map((service) => serviceHtml(service, days.get(service.service) ?? [])).join('')}</section>
<section class="incidents"><h2>Recent incidents</h2>${incidentsHtml(incidents)}</section>
</main>`;

const serviceHtml = (
  { service, status, up, total, expected, instances }: ServiceSnapshot,
  days: readonly UptimeDay[],
): string =>
  `<article class="service"><header class="service-head"><h2>${escapeHtml(service)}</h2>
<p class="service-status"><span class="tone-${TONES[status]}">${STATUS_PROJECTION[status].text}</span>
<span class="muted number">${up}/${Math.max(expected, total)}</span></p></header>
<ul>${instances.map(({ name, state, why }) => `<li>${escapeHtml(name)}: ${state}${state === 'up' ? '' : ` (${escapeHtml(why)})`}</li>`).join('')}</ul>
${daysHtml(days)}</article>`;

const daysHtml = (days: readonly UptimeDay[]): string => {
  if (days.length === 0) return '';
  const bars = days.map((day, index) => {
    const worst = worstStatusOf(day);
    const height = worst === undefined ? 3 : worst === 'operational' ? HEIGHT : HEIGHT / 2;
    return `<rect class="bar-${worst ? TONES[worst] : 'none'}" x="${index * (BAR + 1)}" y="${HEIGHT - height}" width="${BAR}" height="${height}" rx="1"><title>${day.date}: ${worst ? STATUS_PROJECTION[worst].text : 'No data'}</title></rect>`;
  });
  return `<figure class="uptime-days"><svg viewBox="0 0 ${days.length * (BAR + 1) - 1} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="Uptime of the last ${days.length} days">${bars.join('')}</svg></figure>`;
};

const incidentsHtml = (incidents: readonly Incident[]): string => {
  if (incidents.length === 0) return '<p class="empty">No recent incidents.</p>';
  const entries = incidents.slice(0, SHOWN_INCIDENTS).map(({ subject, severity, openedAt, closedAt }) => {
    const since = new Date(openedAt).toISOString();
    const until = closedAt === undefined ? 'open' : `until ${new Date(closedAt).toISOString()}`;
    return `<li class="incident"><p><strong>${escapeHtml(subject)}</strong> <span>${STATUS_PROJECTION[severity].text} since ${since}, ${until}</span></p></li>`;
  });
  return `<ol>${entries.join('')}</ol>`;
};

const headlineOf = ({ status, impact }: FleetSnapshot): string => {
  if (status === 'operational') return 'All systems operational';
  const { text } = STATUS_PROJECTION[status];
  if (status !== 'degraded') return text;
  return `${text}: ${impact[0]?.users ?? 'users are served with less redundancy.'}`;
};

const escapeHtml = (text: string): string => text.replaceAll(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
