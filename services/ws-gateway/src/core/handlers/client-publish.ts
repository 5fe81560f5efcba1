import type { Appended } from '@muster/bus/streams';
import type { ClientQuota } from '../connection/client-quotas.ts';
import type { Hub } from '../group/hub.ts';
import type { PublishRequest } from '../group/publisher.ts';
import type { GroupOptions } from '../namespaces.ts';

/**
 * Publishes for a client. A group that has no stream and no subscriber on any gateway keeps nothing, so that a client cannot
 * fill Redis with names; where the options say that it does (`keep_without_subscribers`), the stream is one of the new groups
 * of the client's quota. Resolves with `over_quota` when nothing was published for that. Throws REDIS_UNAVAILABLE.
 */
export const publishForClient = async (
  hub: Pick<Hub, 'publish'>,
  quota: ClientQuota | undefined,
  options: Pick<GroupOptions, 'keepWithoutSubscribers'>,
  request: PublishRequest & { readonly onlyIfHeard: true },
): Promise<Appended | undefined | 'over_quota'> => {
  const appended = await hub.publish(request);
  if (appended?.outcome !== 'unheard' || !options.keepWithoutSubscribers) return appended;
  return quota?.takeNewGroup() === false ? 'over_quota' : hub.publish({ ...request, onlyIfHeard: false });
};
