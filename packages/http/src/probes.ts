import type { Clock } from '@muster/kit/clock';
import type { Health } from '@muster/kit/health';
import { type About, answerProbe } from '@muster/kit/probes';
import type { Express } from 'express';

/** Answers `/readyz` and `/health` on the public port too, so that a probe proves the path that clients take. */
export const mountProbes = (
  app: Express,
  { health, about, clock }: { health: Health; about: About; clock: Clock },
): void => {
  app.get(['/readyz', '/health'], (req, res) => {
    const answer = answerProbe(health, about, req.path, clock.now(), req.query['service']);
    if (answer !== undefined) res.writeHead(answer.status, { ...answer.headers }).end(answer.body);
  });
};
