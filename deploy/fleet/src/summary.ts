import type { FleetDescription, FleetMember } from './fleet-description.ts';

/** Addresses and first commands. Every line works as printed. */
export const summaryOf = (
  fleet: FleetDescription,
  { dataDir, seconds }: { dataDir: string; seconds: string },
): string => {
  const { publicUrl, gatewayUrl = publicUrl } = fleet;
  const socketUrl = gatewayUrl.replace(/^http/, 'ws');
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
  ${publicUrl}/ in two browser tabs: a chat over two gateways
  ${publicUrl}/#sessions and ${publicUrl}/#groups with the operator token: sessions, groups, live tail

  health of the fleet
    curl -s ${publicUrl}/health
  create a guest session, with a cookie
    curl -s -i -X POST ${publicUrl}/v1/guest-sessions
  create a session as a back end; the answer contains the token for the client
    curl -s ${publicUrl}/v1/sessions -H 'Authorization: Bearer ${fleet.serviceApiKey}' -H 'Content-Type: application/json' -d '{"user_id":"ada"}'

Ctrl-C stops the fleet.
`;
};

const observabilityRows = (prometheusUrl: string | undefined): string =>
  prometheusUrl === undefined
    ? ''
    : [
        '',
        row('Prometheus', `${prometheusUrl}/alerts`),
        row(
          'Grafana',
          'dashboards are in deploy/grafana/dashboards; deploy/grafana/README.md starts Grafana with them',
        ),
      ].join('\n  ');

const NAME_WIDTH = 22;

const row = (name: string, text: string): string => `${name.padEnd(NAME_WIDTH)}${text}`;

const memberRow = ({ name, url, opsUrl, pid }: FleetMember): string => row(name, `${url}   ops ${opsUrl}   pid ${pid}`);

const withoutPassword = (url: string): string => url.replace(/\/\/([^:@/]*):[^@/]*@/, '//$1:…@');
