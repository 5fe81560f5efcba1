import { signal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { useEffect } from 'preact/hooks';

const loaded = signal<ComponentType | undefined>(undefined);

/** The chat with its client library, fetched after the status is on the screen: the status page stays small. */
export const LazyTryIt = () => {
  useEffect(() => {
    import('./try-it.tsx').then(
      ({ TryIt }) => {
        loaded.value = TryIt;
      },
      () => {}, // A new version was deployed meanwhile; the status goes on without the chat until a reload.
    );
  }, []);
  const Loaded = loaded.value;
  return Loaded ? <Loaded /> : null;
};
