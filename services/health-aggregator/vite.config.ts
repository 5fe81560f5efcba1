import { defineConfig } from 'vite';

/** Builds the console into hashed files that the aggregator serves; nothing of it runs in Node. */
export default defineConfig({
  root: new URL('src/console/', import.meta.url).pathname,
  base: '/',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: new URL('dist/console/', import.meta.url).pathname,
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    // Icons and fonts stay files: the content policy allows our own origin and little else.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 200,
  },
});
