import { expect, test } from 'vitest';
import type { FleetSnapshot } from '../core/fleet-snapshot.ts';
import { uptimeDaysOf } from '../core/uptime-history.ts';
import { staticPage } from './static-page.ts';

test('[CO17] given a browser without scripts, the page shows statuses, days and incidents, and escapes every name', () => {
  const bad = '<img src=x onerror=alert(1)>';
  const view: FleetSnapshot = {
    fleet: bad,
    status: 'partial_outage',
    version: 1,
    asOf: '2026-01-01T00:00:00.000Z',
    ageMs: 0,
    frozen: false,
    leader: null,
    observer: { name: bad, version: '1', startedAt: '' },
    dependencies: {},
    impact: [],
    services: [
      {
        service: bad,
        status: 'partial_outage',
        up: 1,
        total: 2,
        expected: 2,
        instances: [
          {
            ...{ id: bad, name: bad, state: 'down', why: bad, forMs: 0, version: '1', startedAt: '' },
            ...{ beatAgeMs: 0, load: {} },
          },
        ],
      },
    ],
  };
  const now = Date.UTC(2026, 0, 1);
  const html = staticPage({
    fleet: view,
    days: new Map([[bad, uptimeDaysOf({ '2026-01-01:major_outage': '90' }, now)]]),
    incidents: [{ id: '1', subject: bad, severity: 'major_outage', openedAt: now, seq: 1, updates: [] }],
  });
  expect(html).not.toContain('<img');
  expect(html).toContain('Partial outage');
  expect(html.match(/<rect /g)).toHaveLength(90);
  expect(html).toContain('2026-01-01: Major outage');
  expect(html).toContain(', open</span>');
});
