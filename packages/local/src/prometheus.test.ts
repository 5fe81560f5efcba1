import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { renderPrometheusConfig } from './prometheus.ts';

const OURS = new URL('../../../deploy/prometheus/prometheus.yml', import.meta.url);

test('the configuration of the repository gets the addresses of a fleet', () => {
  const text = renderPrometheusConfig(readFileSync(OURS, 'utf8'), {
    discovery: ['http://127.0.0.1:1111', 'http://127.0.0.1:2222'],
    rulesDir: '/etc/our rules',
    intervalS: 2,
  });
  expect(text.match(/url: \S+/g)).toEqual([
    'url: http://127.0.0.1:1111/sd/prometheus',
    'url: http://127.0.0.1:2222/sd/prometheus',
  ]);
  expect(text.match(/refresh_interval: 2s/g)).toHaveLength(2);
  expect(text).toContain('- "/etc/our rules/rules.yml"\n');
  expect(text).toContain('- "/etc/our rules/rules-slo.yml"\n');
  expect(text).toContain('scrape_interval: 2s');
  expect(text).toContain('scrape_timeout: 2s');
  expect(text).toContain('targets: []');
  expect(text).not.toMatch(/8300|9093|15s/);
});

test('a configuration of another form is rejected', () => {
  const plan = { discovery: [], rulesDir: '/', intervalS: 1 };
  expect(() => renderPrometheusConfig('scrape_configs: []', plan)).toThrow('http_sd_configs');
});
