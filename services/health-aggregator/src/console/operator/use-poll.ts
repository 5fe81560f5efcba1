import { useEffect } from 'preact/hooks';

const PERIOD_MS = 2_000;

/** Runs `look` now and every two seconds while the page can be seen, one at a time; anew whenever `key` changes. */
export const usePoll = (key: string, look: (isCurrent: () => boolean) => Promise<void>): void => {
  useEffect(() => {
    let isCurrent = true;
    let isBusy = false;
    const run = async (): Promise<void> => {
      if (isBusy || document.hidden) return;
      isBusy = true;
      await look(() => isCurrent);
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
