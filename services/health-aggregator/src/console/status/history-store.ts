import { signal } from '@preact/signals';
import type { Incident } from '../../core/incidents.ts';
import type { UptimeDay } from '../../core/uptime-history.ts';

const RELOAD_MS = 30_000;

/** An incident as `/v1/incidents` tells it: with times as text. */
export type IncidentBody = Omit<Incident, 'openedAt' | 'closedAt' | 'updates'> & {
  readonly openedAt: string;
  readonly closedAt?: string;
  /** True while it waits for the store. */
  readonly isUnsaved?: boolean;
  readonly updates: readonly {
    readonly at: string;
    readonly status: string;
    readonly seen: readonly string[];
    readonly text?: string;
  }[];
};

/** The history of one service. */
export interface ServiceHistory {
  readonly service: string;
  readonly availability: number | null;
  readonly days: readonly UptimeDay[];
}

export const history = signal<readonly ServiceHistory[]>([]);
export const incidents = signal<readonly IncidentBody[]>([]);

const fetchJson = async <T>(path: string): Promise<T | undefined> => {
  try {
    const response = await fetch(path, { signal: AbortSignal.timeout(5_000) });
    return response.ok ? ((await response.json()) as T) : undefined;
  } catch {
    return undefined; // The live part of the page says that nobody answers.
  }
};

const reload = async (): Promise<void> => {
  const [past, wrongs] = await Promise.all([
    fetchJson<{ items: readonly ServiceHistory[] }>('/v1/history'),
    fetchJson<{ items: readonly IncidentBody[] }>('/v1/incidents'),
  ]);
  if (past) history.value = past.items;
  if (wrongs) incidents.value = wrongs.items;
};

/** Loads the past now and every half minute. */
export const startHistory = (): void => {
  void reload();
  setInterval(() => void reload(), RELOAD_MS);
};
