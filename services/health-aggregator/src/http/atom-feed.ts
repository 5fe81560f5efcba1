import type { Incident } from '../core/incidents.ts';
import { type ServiceStatus, STATUS_PROJECTION } from '../core/status.ts';

/** Atom feed (RFC 4287) of incidents, newest first. `self` is the address of the feed. */
export const atomFeed = (
  incidents: readonly Incident[],
  { fleet, self, now }: { readonly fleet: string; readonly self: string; readonly now: number },
): string => {
  const changed = incidents.map(changedAt);
  return `<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
<id>urn:muster:${escapeXml(fleet)}:incidents</id>
<title>Incidents of ${escapeXml(fleet)}</title>
<updated>${iso(changed.length === 0 ? now : Math.max(...changed))}</updated>
<author><name>Muster</name></author>
<link rel="self" href="${escapeXml(self)}"/>
${incidents.map(entry).join('\n')}
</feed>
`;
};

const entry = (incident: Incident): string => {
  const { id, subject, severity, openedAt, closedAt, updates } = incident;
  const state = closedAt === undefined ? '' : ' (closed)';
  const lines = updates.map(({ at, status, seen, text }) =>
    [iso(at), textOf(status), text ?? seen.join('; ')].filter((part) => part !== '').join(' · '),
  );
  return `<entry>
<id>urn:uuid:${escapeXml(id)}</id>
<title>${escapeXml(subject)}: ${textOf(severity)}${state}</title>
<published>${iso(openedAt)}</published>
<updated>${iso(changedAt(incident))}</updated>
<content type="text">${escapeXml(lines.join('\n'))}</content>
</entry>`;
};

const changedAt = ({ openedAt, updates }: Incident): number => updates.at(-1)?.at ?? openedAt;
const iso = (at: number): string => new Date(at).toISOString();
const textOf = (status: ServiceStatus): string => STATUS_PROJECTION[status].text;

/** XML has no control characters, not even escaped. */
const escapeXml = (text: string): string =>
  text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced.
    .replaceAll(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, ' ')
    .replaceAll(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
