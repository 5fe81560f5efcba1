// The alerts of deploy/prometheus for the Prometheus operator, as they are:
//   node deploy/kubernetes/components/monitoring/rules.mjs | kubectl -n muster apply -f -
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';

const RULES = resolve(import.meta.dirname, '../../../prometheus');

const manifests = readdirSync(RULES)
  .filter((name) => /^rules.*\.yml$/.test(name))
  .sort()
  .map((name) => {
    const groups = readFileSync(join(RULES, name), 'utf8').replaceAll(/^(?=.)/gm, '  ');
    const metadata = `metadata:\n  name: muster-${basename(name, '.yml')}\n`;
    return `apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n${metadata}spec:\n${groups}`;
  });
process.stdout.write(manifests.join('---\n'));
