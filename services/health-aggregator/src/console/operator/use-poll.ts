import { useEffect } from 'preact/hooks';

const PERIOD_MS = 2_000;

/** Runs `load` now and every 2 s while the page is visible, without overlap; restarts when `key` changes. */
export const usePoll = (key: string, load: (isCurrent: () => boolean) => Promise<void>): void => {
  useEffect(() => {
    let isCurrent = true;
    let isBusy = false;
    const run = async (): Promise<void> => {
      if (isBusy || document.hidden) return;
      isBusy = true;
      await load(() => isCurrent);
      isBusy = false;
    };
    void run();
    const timer = setInterval(() => void run(), PERIOD_MS);
    return () => {
      isCurrent = false;
      clearInterval(timer);
    };
  }, [key]);
};
