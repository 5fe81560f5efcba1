import { after } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { TenantHosts } from '@muster/session/tenant-hosts';
import { openGroupStream } from '../clients/group-stream.ts';
import type { UpstreamClient } from '../clients/upstream.ts';
import type { GroupAddress, SessionClient } from '../core/operator-ports.ts';

const MAX_TAILS = 20;
/** An operator who forgot the page is not listened for for ever. */
const LONGEST_MS = 3_600_000;

/** What somebody who tails a group hears. */
export interface GroupStreamListener {
  joined(gateway: string): void;
  published(pub: unknown): void;
  /** Nothing follows. */
  ended(why: string): void;
}

/** The groups that operators listen to just now, each with a session and a socket of its own. */
export interface GroupStreams extends AsyncDisposable {
  readonly size: number;
  /** Begins to listen; disposing what it answers stops. Undefined when there are too many. Rejects with an AppError. */
  open(to: GroupAddress, listener: GroupStreamListener): Promise<Disposable | undefined>;
}

/** What listening needs. */
export interface GroupStreamsDeps {
  readonly sessions: SessionClient;
  readonly gateways: UpstreamClient;
  readonly tenantHosts: Pick<TenantHosts, 'hostOf'>;
  readonly log: Logger;
}

export const createGroupStreams = ({
  sessions,
  gateways,
  tenantHosts,
  log,
}: GroupStreamsDeps): GroupStreams => {
  const open = new Set<(why: string) => void>();
  const endings = new Set<Promise<unknown>>();
  let opening = 0;

  const endSession = (id: string): void => {
    // Its rights end with it; when this fails it runs out within a day.
    const ending = sessions
      .end(id)
      .catch((error: unknown) => log.debug({ error }, 'group_stream.session_end_failed'))
      .finally(() => endings.delete(ending));
    endings.add(ending);
  };
  const begin = async (to: GroupAddress, listener: GroupStreamListener): Promise<Disposable> => {
    const { id, token } = await sessions.openListener(to);
    const [address] = gateways.addresses();
    if (address === undefined) {
      endSession(id);
      listener.ended('no gateway serves');
      return { [Symbol.dispose]: () => {} };
    }
    const stack = new DisposableStack();
    const end = (why: string): void => {
      stack.dispose();
      listener.ended(why);
    };
    stack.defer(() => endSession(id));
    stack.defer(() => open.delete(end));
    stack.defer(after(LONGEST_MS, () => end('an hour is over')));
    const host = tenantHosts.hostOf(to.tenant);
    stack.use(openGroupStream({ address, token, group: to.group, host }, { ...listener, ended: end }));
    open.add(end);
    return stack;
  };
  return {
    get size() {
      return open.size;
    },
    open: async (to, listener) => {
      if (open.size + opening >= MAX_TAILS) return undefined;
      opening += 1;
      try {
        return await begin(to, listener);
      } finally {
        opening -= 1;
      }
    },
    [Symbol.asyncDispose]: async () => {
      for (const end of open) end('this aggregator stops');
      await Promise.all(endings);
    },
  };
};
