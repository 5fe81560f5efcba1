import { DEFAULT_TENANT } from '@muster/protocol/ids';

/** Which hosts belong to which tenant. */
export interface TenantHosts {
  /** The tenant of a host; undefined for a host that belongs to nobody. */
  tenantOf(host: string | undefined): string | undefined;
  /** The first host of a tenant; undefined for a tenant without one. */
  hostOf(tenant: string): string | undefined;
  /** Whether sessions of this tenant count at this host; undefined is `default`. */
  admits(host: string | undefined, tenant: string | undefined): boolean;
}

const ENTRY = /^([a-zA-Z\d.-]{1,254})=([\w.-]{1,64})$/;
const PORT = /:\d{0,5}$/;

/**
 * From entries such as `shop.example.com=shop`. At a host of a tenant only its sessions count; at every other host
 * only those of tenants without a host of their own. Hosts are compared without port, case and a trailing dot. Throws a `TypeError`
 * that names the entry which is none, or the host that is named twice.
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
  const housed = new Set(tenants.values());
  const tenantOf = (host: string | undefined) => tenants.get(canonicalHost(host));
  return {
    tenantOf,
    hostOf: (tenant) => [...tenants].find(([, owner]) => owner === tenant)?.[0],
    admits: (host, tenant = DEFAULT_TENANT) => {
      if (housed.size === 0) return true;
      const owner = tenantOf(host);
      return owner === undefined ? !housed.has(tenant) : owner === tenant;
    },
  };
};

/** A host without its port, in lower case, without the dot that ends a fully qualified name. */
const canonicalHost = (host: string | undefined): string =>
  (host ?? '').replace(PORT, '').replace(/\.$/, '').toLowerCase();
