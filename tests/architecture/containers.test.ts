import { join } from 'node:path';
import { renderProxyConfig } from '@muster/local/haproxy';
import { containerProxyPlan } from '@muster/local/haproxy-containers';
import { expect, test } from 'vitest';
import { ROOT, read } from './source-files.ts';

test('[FC10] the load balancer of containers has the rules of the template (vitest -u writes it anew)', async () => {
  const rendered = renderProxyConfig(read('deploy/haproxy/haproxy.cfg.template'), containerProxyPlan());
  await expect(rendered).toMatchFileSnapshot(join(ROOT, 'deploy/haproxy/haproxy.containers.cfg'));
});
