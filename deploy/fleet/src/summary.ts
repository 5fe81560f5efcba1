import type { FleetDescription, FleetMember } from './fleet-description.ts';

/** What a newcomer wants to know now: where everything is, and what to try. Every line works as printed. */
export const summaryOf = (
  fleet: FleetDescription,
  { dataDir, seconds }: { dataDir: string; seconds: string },
): string => {
  const { publicUrl } = fleet;
  const socketUrl = publicUrl.replace(/^http/, 'ws');
  const members = [...fleet.sessionServices, ...fleet.gateways, ...fleet.healthAggregators];
  return `
Muster is up after ${seconds} s.

  ${row('console', `${publicUrl}/`)}
  ${row('operator token', fleet.opsToken)}
  ${row('API documents', `${publicUrl}/docs`)}
  ${row('WebSocket', `${socketUrl}/connection/websocket      (Centrifugo client protocol)`)}
  ${row('plain WebSocket', `${socketUrl}/ws?group=lobby`)}
  ${row('health', `${publicUrl}/health`)}

  ${members.map(memberRow).join('\n  ')}
  ${row('Redis', withoutPassword(fleet.redisUrl))}
  ${row('Postgres', withoutPassword(fleet.databaseUrl))}
  ${row('logs, fleet.json', dataDir)}${observabilityRows(fleet.prometheusUrl)}

Try:
  ${publicUrl}/ in two browser tabs: they chat, each over its own gateway
  ${publicUrl}/#sessions and ${publicUrl}/#groups with the operator token: who is signed in where, and what groups say

  how everything is
    curl -s ${publicUrl}/health
  sign in as a guest, with a cookie
    curl -s -i -X POST ${publicUrl}/v1/guest-sessions
  sign a user in, as your back end would: the answer holds the token for the client
    curl -s ${publicUrl}/v1/sessions -H 'Authorization: Bearer ${fleet.serviceApiKey}' -H 'Content-Type: application/json' -d '{"user_id":"ada"}'

Ctrl-C stops everything.
`;
};

/** What `--observability` adds. */
const observabilityRows = (prometheusUrl: string | undefined): string =>
  prometheusUrl === undefined
    ? ''
    : [
        '',
        row('Prometheus', `${prometheusUrl}/alerts`),
        row(
          'Grafana',
          'dashboards to import are in deploy/grafana/dashboards; deploy/grafana/README.md starts one with them',
        ),
      ].join('\n  ');

const NAME_WIDTH = 22;

const row = (name: string, text: string): string => `${name.padEnd(NAME_WIDTH)}${text}`;

const memberRow = ({ name, url, opsUrl, pid }: FleetMember): string =>
  row(name, `${url}   ops ${opsUrl}   pid ${pid}`);

const withoutPassword = (url: string): string => url.replace(/\/\/([^:@/]*):[^@/]*@/, '//$1:…@');
