import { signal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { useEffect } from 'preact/hooks';

/** A component that is fetched when it is first shown: the status page stays small. */
export const lazy = (load: () => Promise<ComponentType>): ComponentType => {
  const loaded = signal<ComponentType | undefined>(undefined);
  return () => {
    useEffect(() => {
      load().then(
        (component) => {
          loaded.value = component;
        },
        () => {}, // A new version was deployed meanwhile; the rest goes on without it until a reload.
      );
    }, []);
    const Loaded = loaded.value;
    return Loaded ? <Loaded /> : null;
  };
};
