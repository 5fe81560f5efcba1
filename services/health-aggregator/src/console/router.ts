import { signal } from '@preact/signals';

/** The pages of the console. */
export const CONSOLE_PAGES = ['status', 'sessions', 'groups'] as const;
export type PageName = (typeof CONSOLE_PAGES)[number];

/** A page, its subject (a user, a group), and a tenant; an empty tenant is the default of the aggregator. */
export interface PageRoute {
  readonly page: PageName;
  readonly about: string;
  readonly tenant: string;
}

/** Parses a fragment such as `#groups/lobby?tenant=shop`; an unknown page is the status page. */
export const routeOf = (fragment: string): PageRoute => {
  const [, name, about = '', tenant = ''] = /^#([a-z]+)(?:\/([^?]*))?(?:\?tenant=([^&]*))?$/.exec(fragment) ?? [];
  const page = CONSOLE_PAGES.find((known) => known === name) ?? 'status';
  try {
    return { page, about: decodeURIComponent(about), tenant: decodeURIComponent(tenant) };
  } catch {
    return { page, about: '', tenant: '' };
  }
};

/** Fragment of a page; `#` is the status page. */
export const linkTo = (page: PageName, about = '', tenant = ''): string => {
  if (page === 'status') return '#';
  const query = tenant === '' ? '' : `?tenant=${encodeURIComponent(tenant)}`;
  return `#${page}${about === '' ? '' : `/${encodeURIComponent(about)}`}${query}`;
};

export const currentRoute = signal<PageRoute>(routeOf(location.hash));

/** Follows links and the browser history. */
export const startRouter = (): void =>
  window.addEventListener('hashchange', () => {
    const before = currentRoute.value.page;
    currentRoute.value = routeOf(location.hash);
    // Another page starts at its top; the same page keeps its scroll position.
    if (currentRoute.value.page !== before) scrollTo({ top: 0 });
  });

/** Navigates to a page. */
export const goTo = (page: PageName, about = '', tenant = ''): void => {
  location.hash = linkTo(page, about, tenant);
};
