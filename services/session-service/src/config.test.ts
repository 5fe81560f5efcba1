import { expect, test } from 'vitest';
import { readConfig } from './config.ts';

const good = {
  NODE_ENV: 'production',
  DATABASE_URL: 'postgres://db/muster',
  REDIS_URL: 'redis://cache',
  SESSION_SECRETS: 'Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OWFiY2RlZmdo',
  SERVICE_API_KEYS: 'sk_0a1b2c3d4e5f60718293a4b5',
  INTERNAL_API_KEY: 'int_0a1b2c3d4e5f60718293a4b5',
  PUBLIC_URL: 'https://app.example.com/',
};

test('[SE16] given a valid configuration, its values are derived', () => {
  expect(readConfig(good)).toMatchObject({
    publicUrl: 'https://app.example.com',
    cookie: { name: '__Host-session_id', secure: true, embed: false },
    allowedOrigins: ['https://app.example.com'],
    guests: { enabled: false },
    migrate: true,
  });
});

test('[SE16] given http, it is accepted for this machine in development only', () => {
  const local = { ...good, NODE_ENV: 'development', PUBLIC_URL: 'http://127.0.0.1:8080' };
  expect(readConfig(local).cookie).toEqual({ name: 'session_id', secure: false, embed: false });
  expect(() => readConfig({ ...local, NODE_ENV: 'production' })).toThrow('PUBLIC_URL');
  expect(() => readConfig({ ...local, PUBLIC_URL: 'http://app.example.com' })).toThrow('PUBLIC_URL');
  expect(() => readConfig({ ...local, COOKIE_NAME: '__Host-sid' })).toThrow('COOKIE_NAME');
  expect(() => readConfig({ ...local, COOKIE_EMBED: 'on' })).toThrow('COOKIE_EMBED');
});

test('[SE16] given several problems, all are named without their values', () => {
  const bad = { ...good, SESSION_SECRETS: 'short', PUBLIC_URL: 'app', SERVICE_API_KEYS: '' };
  try {
    readConfig(bad);
    expect.unreachable();
  } catch (error) {
    const { message } = error as Error;
    for (const name of ['SESSION_SECRETS', 'PUBLIC_URL', 'SERVICE_API_KEYS']) expect(message).toContain(name);
    expect(message).not.toContain('short');
  }
  const example = { ...good, INTERNAL_API_KEY: 'change-me-please-0123' };
  expect(() => readConfig(example)).toThrow('INTERNAL_API_KEY');
});

test('[TN2] given invalid hosts of tenants, they are named with the other problems', () => {
  const bad = { ...good, TENANT_HOSTS: 'shop', PUBLIC_URL: 'app' };
  expect(() => readConfig(bad)).toThrow(/TENANT_HOSTS: shop is not host=tenant/);
  expect(() => readConfig(bad)).toThrow(/PUBLIC_URL/);
  const { tenantHosts } = readConfig({ ...good, TENANT_HOSTS: 'shop.example.com=shop' });
  expect(tenantHosts.tenantOf('shop.example.com')).toBe('shop');
});
