import { expect, test } from 'vitest';
import { atomFeed } from './atom-feed.ts';

test('[IN5] given incidents with any text, the feed is XML and has the time of the newest change', () => {
  const now = Date.UTC(2026, 0, 1);
  const bad = '<script>&"\u0000\'';
  const feed = atomFeed(
    [
      {
        ...{
          id: 'a',
          subject: bad,
          severity: 'partial_outage',
          openedAt: now,
          seq: 2,
          closedAt: now + 2_000,
        },
        updates: [
          { at: now, status: 'partial_outage', seen: [bad] },
          { at: now + 1_000, status: 'operational', seen: [], text: bad },
        ],
      },
    ],
    { fleet: bad, self: '/feed.atom', now: now + 60_000 },
  );
  expect(feed).not.toContain('<script>');
  expect(feed).not.toContain('\u0000');
  expect(feed.replaceAll(/&#\d+;/g, '')).not.toContain('&');
  expect(feed).toContain('<updated>2026-01-01T00:00:01.000Z</updated>');
  expect(feed).toContain('Partial outage (closed)');
  expect(feed.match(/<entry>/g)).toHaveLength(1);
  const empty = atomFeed([], { fleet: 'muster', self: '/feed.atom', now });
  expect(empty).toContain('<updated>2026-01-01T00:00:00.000Z</updated>');
});
