import { expect, test } from 'vitest';
import { parseTargetSource, resolveTargetSource } from './target-discovery.ts';

test('[TG1] given an entry of TARGETS, addresses, host names with a port and SRV records are accepted, anything else is rejected', () => {
  expect(parseTargetSource('ws-gateway=10.0.0.5:8200')).toEqual({
    ...{ service: 'ws-gateway', by: 'host', host: '10.0.0.5', port: 8200 },
  });
  expect(parseTargetSource('ws-gateway=[::1]:8200')).toMatchObject({ host: '::1' });
  expect(parseTargetSource('ws-gateway=gateways.prod.svc:8200')).toMatchObject({ host: 'gateways.prod.svc' });
  expect(parseTargetSource('ws-gateway=srv:_ws._tcp.prod.svc')).toMatchObject({
    by: 'srv',
    name: '_ws._tcp.prod.svc',
  });
  for (const bad of ['', 'x', 'x=', 'x=host', 'x=host:0', 'x=host:70000', 'X Y=host:1', 'x=http://host:1']) {
    expect([bad, parseTargetSource(bad)]).toEqual([bad, undefined]);
  }
});

test('[TG3] given an address, when it is resolved, then it is the target', async () => {
  const source = parseTargetSource('ws-gateway=[::1]:8200');
  expect(source && (await resolveTargetSource(source))).toEqual([{ service: 'ws-gateway', address: '[::1]:8200' }]);
});
