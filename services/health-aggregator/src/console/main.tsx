import { signal } from '@preact/signals';
import { type ComponentType, render } from 'preact';
import { useEffect } from 'preact/hooks';
import { Logo } from './icons.tsx';
import { CONSOLE_PAGES, currentRoute, linkTo, type PageName, startRouter } from './router.ts';
import { fleet, startFleetStore } from './status/fleet-store.ts';
import { startHistory } from './status/history-store.ts';
import { Incidents } from './status/incidents.tsx';
import { Overview } from './status/overview.tsx';
import { Services } from './status/services.tsx';

/** Component that is fetched when first shown, so that the status page stays small. */
const lazy = (load: () => Promise<ComponentType>): ComponentType => {
  const loaded = signal<ComponentType | undefined>(undefined);
  return () => {
    useEffect(() => {
      load().then(
        (component) => {
          loaded.value = component;
        },
        () => {}, // A new version was deployed meanwhile; the component stays empty until a reload.
      );
    }, []);
    const Loaded = loaded.value;
    return Loaded ? <Loaded /> : null;
  };
};

const LazyPlayground = lazy(() => import('./playground/playground.tsx').then((module) => module.Playground));
const Sessions = lazy(() => import('./operator/sessions-page.tsx').then((module) => module.SessionsPage));
const Groups = lazy(() => import('./operator/groups-page.tsx').then((module) => module.GroupsPage));

const NAMES: Readonly<Record<PageName, string>> = {
  status: 'Status',
  sessions: 'Sessions',
  groups: 'Groups',
};

const Console = ({ hasPlayground }: { hasPlayground: boolean }) => (
  <>
    <header class="page-top">
      <a class="brand" href={linkTo('status')}>
        <Logo />
        Muster
      </a>
      <nav class="pages" aria-label="Pages">
        {CONSOLE_PAGES.map((page) => (
          <a key={page} href={linkTo(page)} aria-current={currentRoute.value.page === page ? 'page' : undefined}>
            {NAMES[page]}
          </a>
        ))}
      </nav>
      <nav aria-label="Resources">
        <a href="/health">Health</a>
        <a href="/v1/fleet">JSON</a>
        <a href="/docs">API</a>
      </nav>
    </header>
    <main class="page">
      <Page hasPlayground={hasPlayground} />
    </main>
    <footer class="page-foot">
      <PageFooter />
    </footer>
  </>
);

const Page = ({ hasPlayground }: { hasPlayground: boolean }) => {
  const { page } = currentRoute.value;
  switch (page) {
    case 'sessions':
      return <Sessions />;
    case 'groups':
      return <Groups />;
    case 'status':
      return (
        <>
          <Overview />
          <Services />
          <Incidents />
          {hasPlayground && <LazyPlayground />}
        </>
      );
    default:
      return page satisfies never;
  }
};

const PageFooter = () => {
  const view = fleet.value;
  return (
    <p class="muted">
      {view ? `Fleet “${view.fleet}”, reported by ${view.observer.name}, version ${view.observer.version}.` : ' '}
    </p>
  );
};

const root = document.querySelector('#app');
if (root instanceof HTMLElement) {
  const hasPlayground = root.dataset['playground'] === 'on';
  root.replaceChildren();
  render(<Console hasPlayground={hasPlayground} />, root);
  startFleetStore();
  startHistory();
  startRouter();
}
