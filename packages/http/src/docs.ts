import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import express, { type RequestHandler, type Router } from 'express';
import { type DocumentInfo, openApiDocument } from './openapi.ts';
import type { Route } from './route.ts';

/** Swagger UI's own files, from the package: nothing on the page comes from another origin. */
const ASSETS = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
const DAY_S = 86_400;

/** `GET /openapi.json` and a page at `/docs` that shows it. */
export const docsRoutes = (info: DocumentInfo, routes: readonly Route[]): Router => {
  const router = express.Router();
  const document = JSON.stringify(openApiDocument(info, routes));
  router.get('/openapi.json', (_req, res) => {
    res.setHeader('Cache-Control', 'no-cache');
    res.type('application/json').send(document);
  });
  router.get('/docs', secure, (_req, res) => void res.type('html').send(page(info.title)));
  router.get('/docs/start.js', secure, (_req, res) => void res.type('js').send(START));
  router.get(['/docs/swagger-ui.css', '/docs/swagger-ui-bundle.js'], secure, (req, res) => {
    res.sendFile(req.path.slice('/docs/'.length), { root: ASSETS, maxAge: DAY_S * 1000 });
  });
  return router;
};

const secure: RequestHandler = (_req, res, next) => {
  res.setHeader(
    'Content-Security-Policy',
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
  );
  next();
};

const START = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#docs', deepLinking: true, validatorUrl: null });`;

const page = (title: string): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>`;
