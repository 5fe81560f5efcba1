import { signal } from '@preact/signals';

/** The pages of the console. */
export const CONSOLE_PAGES = ['status', 'sessions', 'groups'] as const;
export type PageName = (typeof CONSOLE_PAGES)[number];

/** Where the reader is: a page, what it is about (a user, a group), and in which tenant; empty is the default of the aggregator. */
export interface Route {
  readonly page: PageName;
  readonly about: string;
  readonly tenant: string;
}

/** Reads a fragment such as `#groups/lobby?tenant=shop`; anything unknown is the status. */
export const routeOf = (fragment: string): Route => {
  const [, name, about = '', tenant = ''] =
    /^#([a-z]+)(?:\/([^?]*))?(?:\?tenant=([^&]*))?$/.exec(fragment) ?? [];
  const page = CONSOLE_PAGES.find((one) => one === name) ?? 'status';
  try {
    return { page, about: decodeURIComponent(about), tenant: decodeURIComponent(tenant) };
  } catch {
    return { page, about: '', tenant: '' };
  }
};

/** The fragment of a place; that of the status is the page itself. */
export const linkTo = (page: PageName, about = '', tenant = ''): string => {
  if (page === 'status') return '#';
  const where = tenant === '' ? '' : `?tenant=${encodeURIComponent(tenant)}`;
  return `#${page}${about === '' ? '' : `/${encodeURIComponent(about)}`}${where}`;
};

export const currentRoute = signal<Route>(routeOf(location.hash));

/** Follows links and the buttons of the browser. */
export const startRouter = (): void =>
  window.addEventListener('hashchange', () => {
    const before = currentRoute.value.page;
    currentRoute.value = routeOf(location.hash);
    // Another page begins at its top; on the same one the reader stays where they are.
    if (currentRoute.value.page !== before) scrollTo({ top: 0 });
  });

/** Goes to a place. */
export const goTo = (page: PageName, about = '', tenant = ''): void => {
  location.hash = linkTo(page, about, tenant);
};
