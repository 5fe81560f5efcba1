import { afterAll, beforeAll, expect, test } from 'vitest';
import { repositoryFiles } from '../architecture/source-files.ts';
import { runnableBlocks } from '../documents/blocks.ts';
import { type FleetHome, startFleetHome } from '../documents/fleet-home.ts';

const TOUR = 'README.md';
const documents = repositoryFiles()
  .filter((path) => path.endsWith('.md') && path !== TOUR)
  .filter((path) => runnableBlocks(path, ['fleet']).some(({ isSlow }) => !isSlow));

let home: FleetHome;
beforeAll(async () => {
  home = await startFleetHome();
});
afterAll(() => home?.[Symbol.asyncDispose]());

test.each(documents)('[DC3] %s does what it says', async (document) => {
  await home.runDocument(document, ['fleet'], false);
});

test('[DC3] the tour of README.md does what it says, and ends with the sockets closed', async () => {
  const written = await home.runDocument(TOUR, ['fleet'], false);
  const clients = [...written].filter(([{ code }]) => code.includes('tests/tour/'));
  expect(clients.map(([, output]) => /closed: (\d+)/.exec(output)?.[1])).toEqual(['4501', '4501']);
  const [, tailed = ''] = [...written].find(([{ code }]) => code.includes('muster tail')) ?? [];
  expect(tailed).toContain('{"text":"from a terminal"}');
});
