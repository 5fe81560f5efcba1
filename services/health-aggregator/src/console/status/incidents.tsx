import { uptime } from '../format.ts';
import { Glyph } from '../icons.tsx';
import { SERVICE_STATUS_LABELS } from '../labels.ts';
import { type IncidentBody, incidents } from './history-store.ts';

const MAX_SHOWN = 8;
const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** What went wrong lately, newest first. */
export const Incidents = () => {
  const all = incidents.value;
  return (
    <section class="incidents" aria-labelledby="incidents-title">
      <h2 id="incidents-title">Lately</h2>
      {all.length === 0 ? (
        <p class="empty">Nothing to report.</p>
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
  const { tone, word } = SERVICE_STATUS_LABELS[incident.severity];
  const opened = Date.parse(incident.openedAt);
  const isOpen = incident.closedAt === undefined;
  const lasted = (incident.closedAt ? Date.parse(incident.closedAt) : Date.now()) - opened;
  const seen = incident.updates[0]?.seen ?? [];
  const said = incident.updates.flatMap(({ text }) => (text === undefined ? [] : [text]));
  return (
    <li class="incident" data-open={isOpen}>
      <Glyph tone={isOpen ? tone : 'unknown'} />
      <p>
        <strong>{incident.subject}</strong>
        <span>
          {word.toLowerCase()} for {incident.isStartUnknown ? 'at least ' : ''}
          {uptime(lasted)}
          {isOpen ? ', still going on' : ''}
        </span>
        {incident.isUnsaved && <span class="quiet">kept in memory until Redis is back</span>}
        {said.map((text) => (
          <span class="quiet" key={text}>
            {text}
          </span>
        ))}
        {seen.length > 0 && <span class="quiet">{seen.join(', ')}</span>}
      </p>
      <time class="quiet number" dateTime={incident.openedAt}>
        {dateTime.format(opened)}
      </time>
    </li>
  );
};
