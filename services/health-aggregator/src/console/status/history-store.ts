import { signal } from '@preact/signals';
import type { Incident } from '../../core/incidents.ts';
import type { UptimeDay } from '../../core/uptime-history.ts';

const RELOAD_MS = 30_000;

/** Incident in a response of `/v1/incidents`; times are ISO 8601. */
export type IncidentBody = Omit<Incident, 'openedAt' | 'closedAt' | 'updates'> & {
  readonly openedAt: string;
  readonly closedAt?: string;
  /** True until it is written to Redis. */
  readonly isUnsaved?: boolean;
  readonly updates: readonly {
    readonly at: string;
    readonly status: string;
    readonly seen: readonly string[];
    readonly text?: string;
  }[];
};

/** Uptime history of one service. */
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
    return undefined; // The fleet snapshot shows that the aggregator is unreachable.
  }
};

const reload = async (): Promise<void> => {
  const [historyBody, incidentsBody] = await Promise.all([
    fetchJson<{ items: readonly ServiceHistory[] }>('/v1/history'),
    fetchJson<{ items: readonly IncidentBody[] }>('/v1/incidents'),
  ]);
  if (historyBody) history.value = historyBody.items;
  if (incidentsBody) incidents.value = incidentsBody.items;
};

/** Loads history and incidents now and every 30 s. */
export const startHistory = (): void => {
  void reload();
  setInterval(() => void reload(), RELOAD_MS);
};
