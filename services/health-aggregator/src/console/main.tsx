import { render } from 'preact';
import { Logo } from './icons.tsx';
import { lazy } from './lazy.tsx';
import { CONSOLE_PAGES, currentRoute, linkTo, type PageName, startRouter } from './router.ts';
import { fleet, startFleetStore } from './status/fleet-store.ts';
import { startHistory } from './status/history-store.ts';
import { Incidents } from './status/incidents.tsx';
import { Overview } from './status/overview.tsx';
import { Services } from './status/services.tsx';

const TryIt = lazy(() => import('./playground/playground.tsx').then((module) => module.Playground));
const Sessions = lazy(() => import('./operator/sessions-page.tsx').then((module) => module.SessionsPage));
const Groups = lazy(() => import('./operator/groups-page.tsx').then((module) => module.GroupsPage));

const NAMES: Readonly<Record<PageName, string>> = {
  status: 'Status',
  sessions: 'Sessions',
  groups: 'Groups',
};

const Console = ({ hasTryIt }: { hasTryIt: boolean }) => (
  <>
    <header class="top">
      <a class="brand" href={linkTo('status')}>
        <Logo />
        Muster
      </a>
      <nav class="pages" aria-label="Pages">
        {CONSOLE_PAGES.map((page) => (
          <a
            key={page}
            href={linkTo(page)}
            aria-current={currentRoute.value.page === page ? 'page' : undefined}
          >
            {NAMES[page]}
          </a>
        ))}
      </nav>
      <nav aria-label="Elsewhere">
        <a href="/health">Health</a>
        <a href="/v1/fleet">JSON</a>
        <a href="/docs">API</a>
      </nav>
    </header>
    <main class="page">
      <Page hasTryIt={hasTryIt} />
    </main>
    <footer class="foot">
      <Observer />
    </footer>
  </>
);

const Page = ({ hasTryIt }: { hasTryIt: boolean }) => {
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
          {hasTryIt && <TryIt />}
        </>
      );
    default:
      return page satisfies never;
  }
};

const Observer = () => {
  const view = fleet.value;
  return (
    <p class="quiet">
      {view ? `Fleet “${view.fleet}”, seen by ${view.observer.name}, version ${view.observer.version}.` : ' '}
    </p>
  );
};

const root = document.querySelector('#app');
if (root instanceof HTMLElement) {
  const hasTryIt = root.dataset['tryIt'] === 'on';
  root.replaceChildren();
  render(<Console hasTryIt={hasTryIt} />, root);
  startFleetStore();
  startHistory();
  startRouter();
}
