import { render } from 'preact';
import { Incidents } from './fleet/incidents.tsx';
import { Overview } from './fleet/overview.tsx';
import { followPast } from './fleet/past.ts';
import { Services } from './fleet/services.tsx';
import { fleet, follow } from './fleet/store.ts';
import { Logo } from './glyph.tsx';
import { LazyTryIt } from './try/lazy.tsx';

const Page = ({ hasTryIt }: { hasTryIt: boolean }) => (
  <>
    <header class="top">
      <span class="brand">
        <Logo />
        Muster
      </span>
      <nav aria-label="Elsewhere">
        <a href="/health">Health</a>
        <a href="/v1/fleet">JSON</a>
        <a href="/docs">API</a>
      </nav>
    </header>
    <main class="page">
      <Overview />
      <Services />
      <Incidents />
      {hasTryIt && <LazyTryIt />}
    </main>
    <footer class="foot">
      <Observer />
    </footer>
  </>
);

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
  render(<Page hasTryIt={hasTryIt} />, root);
  follow();
  followPast();
}
