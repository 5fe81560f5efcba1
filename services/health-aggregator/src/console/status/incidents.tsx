import { uptime } from '../format.ts';
import { Glyph } from '../icons.tsx';
import { SERVICE_STATUS_LABELS } from '../labels.ts';
import { type IncidentBody, incidents } from './history-store.ts';

const MAX_SHOWN = 8;
const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** Recent incidents, newest first. */
export const Incidents = () => {
  const all = incidents.value;
  return (
    <section class="incidents" aria-labelledby="incidents-title">
      <h2 id="incidents-title">Recent incidents</h2>
      {all.length === 0 ? (
        <p class="empty">No recent incidents.</p>
      ) : (
        <ol>
          {all.slice(0, MAX_SHOWN).map((incident) => (
            <IncidentItem key={incident.id} incident={incident} />
          ))}
        </ol>
      )}
    </section>
  );
};

const IncidentItem = ({ incident }: { incident: IncidentBody }) => {
  const { tone, label } = SERVICE_STATUS_LABELS[incident.severity];
  const opened = Date.parse(incident.openedAt);
  const isOpen = incident.closedAt === undefined;
  const durationMs = (incident.closedAt ? Date.parse(incident.closedAt) : Date.now()) - opened;
  const seen = incident.updates[0]?.seen ?? [];
  const notes = incident.updates.flatMap(({ text }) => (text === undefined ? [] : [text]));
  return (
    <li class="incident" data-open={isOpen}>
      <Glyph tone={isOpen ? tone : 'unknown'} />
      <p>
        <strong>{incident.subject}</strong>
        <span>
          {label.toLowerCase()} for {incident.isStartUnknown ? 'at least ' : ''}
          {uptime(durationMs)}
          {isOpen ? ', ongoing' : ''}
        </span>
        {incident.isUnsaved && <span class="muted">kept in memory until Redis is reachable</span>}
        {notes.map((text) => (
          <span class="muted" key={text}>
            {text}
          </span>
        ))}
        {seen.length > 0 && <span class="muted">{seen.join(', ')}</span>}
      </p>
      <time class="muted number" dateTime={incident.openedAt}>
        {dateTime.format(opened)}
      </time>
    </li>
  );
};
