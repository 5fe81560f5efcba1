import { DEFAULT_TENANT } from '@muster/protocol/ids';

/** Mapping between hosts and tenants. */
export interface TenantHosts {
  /** Tenant of a host; undefined for a host without a tenant. */
  tenantOf(host: string | undefined): string | undefined;
  /** First host of a tenant; undefined for a tenant without hosts. */
  hostOf(tenant: string): string | undefined;
  /** True if sessions of this tenant are valid at this host; undefined is `default`. */
  admits(host: string | undefined, tenant: string | undefined): boolean;
}

const ENTRY = /^([a-zA-Z\d.-]{1,254})=([\w.-]{1,64})$/;
const PORT = /:\d{0,5}$/;

/**
 * From entries such as `shop.example.com=shop`. At a host of a tenant only its sessions are valid, at other hosts only
 * those of tenants without hosts. Port, case and a trailing dot of a host do not matter. Throws a TypeError that names a
 * malformed entry or a repeated host.
 */
export const createTenantHosts = (entries: readonly string[]): TenantHosts => {
  const tenants = new Map<string, string>();
  for (const entry of entries) {
    const [, given, tenant] = ENTRY.exec(entry) ?? [];
    const host = canonicalHost(given);
    if (host === '' || tenant === undefined) throw new TypeError(`${entry} is not host=tenant`);
    if (tenants.has(host)) throw new TypeError(`${host} is named twice`);
    tenants.set(host, tenant);
  }
  const tenantsWithHosts = new Set(tenants.values());
  const tenantOf = (host: string | undefined) => tenants.get(canonicalHost(host));
  return {
    tenantOf,
    hostOf: (tenant) => [...tenants].find(([, owner]) => owner === tenant)?.[0],
    admits: (host, tenant = DEFAULT_TENANT) => {
      if (tenantsWithHosts.size === 0) return true;
      const owner = tenantOf(host);
      return owner === undefined ? !tenantsWithHosts.has(tenant) : owner === tenant;
    },
  };
};

/** Host in lower case, without port and trailing dot. */
const canonicalHost = (host: string | undefined): string =>
  (host ?? '').replace(PORT, '').replace(/\.$/, '').toLowerCase();
