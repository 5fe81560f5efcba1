import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { AppError } from '@muster/protocol/errors';
import type { Express, RequestHandler } from 'express';
import { type PageFacts, staticPage } from './static-page.ts';

const POLICY = [
  "default-src 'self'",
  "connect-src 'self' ws: wss:",
  "img-src 'self' data:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');
const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};
const YEAR_S = 31_536_000;

/** The page without a build of the console. */
const UNBUILT = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Muster</title>
<!--fleet--><p>The console is not built. Run
<code>pnpm --filter @muster/health-aggregator build</code> and restart.
The data is at <a href="/health">/health</a> and <a href="/v1/fleet">/v1/fleet</a>.</p></html>`;

/** Files of the console, read at start-up. */
export interface ConsoleFiles {
  readonly page: string;
  readonly assets: ReadonlyMap<string, { readonly type: string; readonly body: Buffer }>;
}

/** Reads the build in `directory`; without a build the page has instructions instead. */
export const readConsole = (directory: string): ConsoleFiles => {
  const index = join(directory, 'index.html');
  if (!existsSync(index)) return { page: UNBUILT, assets: new Map() };
  const folder = join(directory, 'assets');
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return {
    page: readFileSync(index, 'utf8'),
    assets: new Map(
      names.map((name) => [
        name,
        { type: TYPES[extname(name)] ?? 'application/octet-stream', body: readFileSync(join(folder, name)) },
      ]),
    ),
  };
};

interface ConsoleDeps {
  readonly files: ConsoleFiles;
  readonly facts: () => PageFacts;
  readonly hasPlayground: boolean;
}

/** Mounts `/` and `/assets/*`. File names contain a hash of the content, so assets are immutable. */
export const mountConsole = (app: Express, { files, facts, hasPlayground }: ConsoleDeps): void => {
  app
    .route('/')
    .get((_req, res) => {
      res
        .status(200)
        .setHeader('Content-Security-Policy', POLICY)
        .setHeader('Referrer-Policy', 'no-referrer')
        .setHeader('Cache-Control', 'no-cache')
        .type('html')
        .send(
          files.page
            .replace('<!--fleet-->', () => staticPage(facts()))
            .replace('data-playground="on"', `data-playground="${hasPlayground ? 'on' : 'off'}"`),
        );
    })
    .all(onlyGet);
  app
    .route('/assets/:name')
    .get((req, res) => {
      const asset = files.assets.get(req.params.name);
      if (!asset)
        throw new AppError('NOT_FOUND', {
          detail: 'This version of the console has no such file. Reload the page.',
        });
      res
        .status(200)
        .setHeader('Content-Type', asset.type)
        .setHeader('Cache-Control', `public, max-age=${YEAR_S}, immutable`)
        .send(asset.body);
    })
    .all(onlyGet);
};

/** Rejects every method but GET and HEAD. */
export const onlyGet: RequestHandler = (_req, res) => {
  res.setHeader('Allow', 'GET, HEAD');
  throw new AppError('METHOD_NOT_ALLOWED', { detail: 'This path accepts GET and HEAD.' });
};
