import type { FleetSnapshot, ServiceSnapshot } from '../core/fleet-snapshot.ts';
import type { Incident } from '../core/incidents.ts';
import type { ServiceStatus } from '../core/status.ts';
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

/** What the page shows before, or without, any script. */
export interface PageFacts {
  readonly view: FleetSnapshot;
  readonly days: ReadonlyMap<string, readonly UptimeDay[]>;
  readonly incidents: readonly Incident[];
}

/**
 * The status as HTML, for browsers without scripts and for the first moment of all others. The console takes its place.
 * Names come from our own configuration, yet everything is escaped.
 */
export const staticPage = ({ view, days, incidents }: PageFacts): string => `<main class="page">
<section class="overview">
<p class="status-line">${words(view.status)}</p>
<h1 class="headline">Muster</h1>
<p class="subtitle">Fleet ${escapeHtml(view.fleet)} is ${words(view.status)}, as of ${view.asOf}.</p>
<noscript><p>This page comes alive with JavaScript; without it, it renews itself every 30 seconds. All facts are at
<a href="/health">/health</a> and <a href="/v1/fleet">/v1/fleet</a>.</p></noscript>
</section>
<section class="services">${view.services.map((service) => serviceHtml(service, days.get(service.service) ?? [])).join('')}</section>
<section class="incidents"><h2>Lately</h2>${incidentsHtml(incidents)}</section>
</main>`;

const serviceHtml = (
  { service, status, up, total, expected, instances }: ServiceSnapshot,
  days: readonly UptimeDay[],
): string =>
  `<article class="service"><header class="service-head"><h2>${escapeHtml(service)}</h2>
<p class="service-status"><span class="tone-${TONES[status]}">${words(status)}</span>
<span class="muted number">${up}/${Math.max(expected, total)}</span></p></header>
<ul>${instances.map(({ name, state, why }) => `<li>${escapeHtml(name)}: ${state}${state === 'up' ? '' : ` (${escapeHtml(why)})`}</li>`).join('')}</ul>
${daysHtml(days)}</article>`;

const daysHtml = (days: readonly UptimeDay[]): string => {
  if (days.length === 0) return '';
  const bars = days.map((day, index) => {
    const worst = worstStatusOf(day);
    const height = worst === undefined ? 3 : worst === 'operational' ? HEIGHT : HEIGHT / 2;
    return `<rect class="bar-${worst ? TONES[worst] : 'none'}" x="${index * (BAR + 1)}" y="${HEIGHT - height}" width="${BAR}" height="${height}" rx="1"><title>${day.date}: ${worst ? words(worst) : 'not observed'}</title></rect>`;
  });
  return `<figure class="uptime-days"><svg viewBox="0 0 ${days.length * (BAR + 1) - 1} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="the last ${days.length} days">${bars.join('')}</svg></figure>`;
};

const incidentsHtml = (incidents: readonly Incident[]): string => {
  if (incidents.length === 0) return '<p class="empty">Nothing to report.</p>';
  const entries = incidents.slice(0, SHOWN_INCIDENTS).map(({ subject, severity, openedAt, closedAt }) => {
    const since = new Date(openedAt).toISOString();
    const until = closedAt === undefined ? 'still going on' : `until ${new Date(closedAt).toISOString()}`;
    return `<li class="incident"><p><strong>${escapeHtml(subject)}</strong> <span>${words(severity)} since ${since}, ${until}</span></p></li>`;
  });
  return `<ol>${entries.join('')}</ol>`;
};

const words = (status: ServiceStatus): string => status.replace('_', ' ');

const escapeHtml = (text: string): string =>
  text.replaceAll(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
