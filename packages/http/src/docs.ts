import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import express, { type RequestHandler, type Router } from 'express';
import { type DocumentInfo, openApiDocument } from './openapi.ts';
import type { Operation } from './route.ts';

/** Files of the Swagger UI package; the page loads from no other origin. */
const ASSETS = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
const DAY_S = 86_400;

/** `GET /openapi.json` and its page at `/docs`, below the mount point of the router. */
export const docsRoutes = (info: DocumentInfo, routes: readonly Operation[]): Router => {
  const router = express.Router({ strict: true, caseSensitive: true });
  const document = JSON.stringify(openApiDocument(info, routes));
  router.get('/openapi.json', (_req, res) => {
    res.setHeader('Cache-Control', 'no-cache');
    res.type('application/json').send(document);
  });
  router.get('/docs', secure, (req, res) => void res.type('html').send(page(info.title, req.baseUrl)));
  router.get('/docs/start.js', secure, (req, res) => void res.type('js').send(start(req.baseUrl)));
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

const start = (base: string): string =>
  `SwaggerUIBundle({ url: '${base}/openapi.json', dom_id: '#docs', deepLinking: true, validatorUrl: null });`;

const page = (title: string, base: string): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="stylesheet" href="${base}/docs/swagger-ui.css">
<div id="docs"></div>
<script src="${base}/docs/swagger-ui-bundle.js"></script>
<script src="${base}/docs/start.js"></script>
</html>`;
