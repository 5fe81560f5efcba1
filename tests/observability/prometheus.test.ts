import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { OBJECTIVES } from '@muster/observability/objectives';
import { SLO_GROUPS } from '@muster/observability/slo-rules';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { alertNames, expressions } from './expressions.ts';
import { OBJECTIVE_CASES } from './prometheus-objectives.ts';
import { findPrometheusProgram } from './prometheus-program.ts';
import { RULE_CASES, type Series } from './prometheus-rules.ts';

const run = promisify(execFile);
const file = (name: string): string => fileURLToPath(new URL(`../../deploy/prometheus/${name}`, import.meta.url));
const OBJECTIVE_ALERTS = ['SloBudgetBurnsFast', 'SloBudgetBurnsSlowly', 'SloFewButFailing', 'SloUnmeasured'];
const directory = mkdtempSync(join(tmpdir(), 'muster-prometheus-'));
let promtool: string | undefined;

beforeAll(async () => {
  promtool = await findPrometheusProgram('promtool');
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs promtool; rejects with its output. */
const check = async (...args: string[]): Promise<string> => {
  const { stdout } = await run(promtool ?? 'promtool', args).catch((error: { stdout?: string; stderr?: string }) => {
    throw new Error(`${error.stdout}\n${error.stderr}`);
  });
  return stdout;
};

test('[MT1] the configuration and the rules are valid', async ({ skip }) => {
  if (promtool === undefined) skip();
  expect(await check('check', 'config', file('prometheus.yml'))).toContain('SUCCESS');
});

test('[OBS7] promtool parses the expressions of all rules, annotations and panels', async ({ skip }) => {
  if (promtool === undefined) skip();
  const path = join(directory, 'panels.json');
  const rules = expressions().map(({ expr }, index) => ({
    record: `panel:${index}`,
    expr: expr.replaceAll('$__rate_interval', '5m'),
  }));
  writeFileSync(path, JSON.stringify({ groups: [{ name: 'panels', rules }] }));
  expect(await check('check', 'rules', path)).toContain(`${rules.length} rules found`);
});

test('[MT2] [MT5] every alert has a case that makes it fire, a case that keeps it silent, and a runbook', () => {
  const cases = [...RULE_CASES.map(({ alert }) => alert), ...OBJECTIVE_ALERTS];
  expect(cases.toSorted()).toEqual(alertNames().toSorted());
  const chapters = ['runbooks.md', 'runbooks-slo.md'].flatMap((name) =>
    [...readFileSync(file(name), 'utf8').matchAll(/^## ([A-Z]\w+)$/gm)].map(([, title]) => title),
  );
  expect(chapters.toSorted()).toEqual(alertNames().toSorted());
});

test('[MT2] each alert fires in its firing case and does not fire in its silent case', async ({ skip }) => {
  if (promtool === undefined) skip();
  const tests = RULE_CASES.flatMap(({ alert, at, interval = '1m', firing, silent }) => {
    const given = (name: string, input_series: readonly Series[], value: number) => ({
      name: `${alert} ${name}`,
      interval,
      input_series,
      promql_expr_test: [firingAt(at, `alertname="${alert}"`, value)],
    });
    return alert === 'Watchdog'
      ? [given('fires', firing, 1)]
      : [given('fires', firing, 1), given('is silent', silent, 0)];
  });
  await runCases('rules', 1, tests, [file('rules.yml')]);
}, 240_000);

const STEPS = [...new Set(OBJECTIVE_CASES.map(({ step }) => step))];

test.each(STEPS)(
  '[OBS4] [OBS11] [OBS15] alerts of the objectives fire as their cases require, in steps of %i minutes',
  async (step) => {
    if (promtool === undefined) return;
    const tests = OBJECTIVE_CASES.filter((each) => each.step === step).map(({ name, at, series, fires }) => ({
      name,
      interval: `${step}m`,
      input_series: series,
      // With samples more than two minutes apart the shortest window has no data, so SloUnmeasured would fire.
      promql_expr_test: OBJECTIVE_ALERTS.filter((alert) => alert !== 'SloUnmeasured' || step <= 2).map((alert) =>
        firingAt(at, `alertname="${alert}"`, fires.includes(alert) ? OBJECTIVES.length : 0),
      ),
    }));
    await runCases(`objectives-${step}`, step, tests, [file('rules-slo.yml')]);
  },
  120_000,
);

/** Test of promtool for the number of firing alerts at a time. */
const firingAt = (at: string, matchers: string, value: number) => ({
  eval_time: at,
  expr: `count(ALERTS{${matchers},alertstate="firing"}) or vector(0)`,
  exp_samples: [{ labels: '{}', value }],
});

const runCases = async (
  name: string,
  minutes: number,
  tests: readonly object[],
  rule_files: readonly string[],
): Promise<void> => {
  // promtool evaluates groups in any order: without this, alerts would read the recordings of the previous step.
  const group_eval_order = rule_files.some((path) => path.includes('slo')) ? SLO_GROUPS.map((group) => group.name) : [];
  const path = join(directory, `${name}.test.json`);
  // JSON is YAML.
  writeFileSync(path, JSON.stringify({ rule_files, group_eval_order, evaluation_interval: `${minutes}m`, tests }));
  expect(await check('test', 'rules', path)).toContain('SUCCESS');
};
