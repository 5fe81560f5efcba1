import { DEFAULT_TENANT } from '@muster/protocol/ids';

/** Which hosts belong to which tenant. */
export interface TenantHosts {
  /** The tenant of a host; undefined for a host that belongs to nobody. */
  tenantOf(host: string | undefined): string | undefined;
  /** Whether sessions of this tenant count at this host; undefined is `default`. */
  admits(host: string | undefined, tenant: string | undefined): boolean;
}

const ENTRY = /^([a-z\d.-]{1,253})=([\w.-]{1,64})$/;

/**
 * From entries such as `shop.example.com=shop`. At a host of a tenant only its sessions count; at every other host
 * only those of tenants without a host of their own. Hosts are compared without port and case. Throws a `TypeError`
 * that names the entry which is none, or the host that is named twice.
 */
export const createTenantHosts = (entries: readonly string[]): TenantHosts => {
  const tenants = new Map<string, string>();
  for (const entry of entries) {
    const [, host, tenant] = ENTRY.exec(entry) ?? [];
    if (host === undefined || tenant === undefined) throw new TypeError(`${entry} is not host=tenant`);
    if (tenants.has(host)) throw new TypeError(`${host} is named twice`);
    tenants.set(host, tenant);
  }
  const housed = new Set(tenants.values());
  const tenantOf = (host: string | undefined) => tenants.get(nameOf(host));
  return {
    tenantOf,
    admits: (host, tenant = DEFAULT_TENANT) => {
      if (housed.size === 0) return true;
      const owner = tenantOf(host);
      return owner === undefined ? !housed.has(tenant) : owner === tenant;
    },
  };
};

const nameOf = (host: string | undefined): string => (host ?? '').replace(/:\d+$/, '').toLowerCase();
