/** For messages: the form that {@link isPostgresUrl} accepts. */
export const POSTGRES_URL_FORM =
  '`postgres://[user[:password]@]host[:5432]/database`; `?host=/directory` in place of the host for a Unix socket';

const SSL_MODES = new Set(['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify']);

/**
 * True for a URL that names a server and a database. The driver would fill a missing database with the user's name, and a missing host
 * with this machine: that is refused.
 */
export const isPostgresUrl = (text: string): boolean => {
  if (!/^postgres(ql)?:\/\//.test(text) || !URL.canParse(text)) return false;
  const { hostname, port, pathname, searchParams, username, password } = new URL(text);
  const host = hostname === '' ? (searchParams.get('host') ?? '') : hostname;
  const sslMode = searchParams.get('sslmode');
  return (
    /^[^,\s]+$/.test(host) &&
    port !== '0' &&
    /^\/[^/]+$/.test(pathname) &&
    [pathname, username, password].every(isEncoded) &&
    (sslMode === null || SSL_MODES.has(sslMode))
  );
};

const isEncoded = (text: string): boolean => {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
};
