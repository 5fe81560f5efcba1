import type { Clock } from '@muster/kit/clock';
import type { Health } from '@muster/kit/health';
import { answerProbe, type ProcessInfo } from '@muster/kit/probes';
import type { Express } from 'express';

/** Answers `/readyz` and `/health` on the public port too, so that a probe proves the path that clients take. */
export const mountProbes = (
  app: Express,
  { health, about, clock }: { health: Health; about: ProcessInfo; clock: Clock },
): void => {
  app.get(['/readyz', '/health'], (req, res) => {
    const answer = answerProbe(health, about, req.path, clock.now(), req.query['service']);
    if (answer !== undefined) res.writeHead(answer.status, { ...answer.headers }).end(answer.body);
  });
};
