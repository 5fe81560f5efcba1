import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { BOARDS } from './dashboards.ts';
import { generatedFiles } from './files.ts';

const ROOT = resolve(import.meta.dirname, '../../..');

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly {
    readonly refId: string;
    readonly expr: string;
    readonly datasource: { readonly uid: string };
  }[];
}
interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string }[] };
}

const dashboard = (name: string): Dashboard =>
  JSON.parse(readFileSync(resolve(ROOT, `deploy/grafana/dashboards/${name}.json`), 'utf8')) as Dashboard;

const FILES = [...generatedFiles()];

test.each(FILES)('[OBS1] %s is up to date: equal to the output of npm run generate', (path, text) => {
  expect(readFileSync(resolve(ROOT, path), 'utf8')).toBe(text);
});

test('[OBS8] dashboards have unique ids', () => {
  const uids = BOARDS.map(({ name }) => dashboard(name).uid);
  expect(new Set(uids).size).toBe(BOARDS.length);
});

test.each(BOARDS.map(({ name }) => name))(
  '[OBS3] [OBS9] [OBS10] panels of %s have unique ids, do not overlap, and read the variable datasource',
  (name) => {
    const { panels, templating } = dashboard(name);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    expect(templating.list.filter(({ type }) => type === 'datasource').map((variable) => variable.name)).toEqual([
      'datasource',
    ]);
    for (const { datasource, targets, type } of panels) {
      if (type === 'row') continue;
      for (const source of [datasource, ...(targets ?? []).map((target) => target.datasource)])
        expect(source?.uid).toBe(['$', '{datasource}'].join(''));
      expect(targets?.length).toBeGreaterThan(0);
      expect(new Set(targets?.map(({ refId }) => refId)).size).toBe(targets?.length);
    }
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) => {
      expect(x + w).toBeLessThanOrEqual(24);
      return Array.from({ length: w * h }, (_, index) => `${x + (index % w)},${y + Math.floor(index / w)}`);
    });
    expect(new Set(cells).size).toBe(cells.length);
  },
);
