import { createHmac } from 'node:crypto';

/** Signature of a request that this process sends (Standard Webhooks): HMAC-SHA256 over `id.timestamp.body`, base64. */
export const signWebhook = (secret: string, id: string, timestampS: number, body: string): string =>
  `v1,${createHmac('sha256', secret).update(`${id}.${timestampS}.${body}`).digest('base64')}`;
