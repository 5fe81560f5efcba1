import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';

const TIMEOUT_MS = 5_000;
const ANNOTATION = 'controller.kubernetes.io/pod-deletion-cost';

/** Outcome of a patch; the `result` label of `fleet_pod_deletion_cost_patches_total`. */
export type PatchOutcome = 'ok' | 'forbidden' | 'not_found' | 'timeout' | 'error';

/** Access to the API server of the cluster with the service account of this pod. */
export type KubernetesApi = ReturnType<typeof createKubernetesApi>;

/**
 * Creates the client. Plain `node:https` with the CA of the cluster: one route does not justify a library, and `fetch` of Node has no
 * option for a CA. Token and CA are read for every call, because Kubernetes replaces both.
 */
export const createKubernetesApi = (options: { readonly url: string; readonly credentialsDirectory: string }) => {
  const read = async (name: string): Promise<string> =>
    (await readFile(join(options.credentialsDirectory, name), 'utf8')).trim();

  return {
    /** Writes the deletion cost of a pod of the own namespace, within five seconds. Never rejects. */
    setDeletionCost: async (pod: string, cost: number): Promise<PatchOutcome> => {
      try {
        const [token, ca, namespace] = await Promise.all([read('token'), read('ca.crt'), read('namespace')]);
        const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(pod)}`;
        const body = JSON.stringify({ metadata: { annotations: { [ANNOTATION]: String(cost) } } });
        return outcomeOf(await patch(new URL(path, options.url), { token, ca, body }));
      } catch (error) {
        return (error as Error).name === 'AbortError' || (error as Error).name === 'TimeoutError' ? 'timeout' : 'error';
      }
    },
  };
};

/** Resolves with the status; the body is discarded. */
const patch = (url: URL, { token, ca, body }: { token: string; ca: string; body: string }): Promise<number> =>
  new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        ...{ method: 'PATCH', ca, agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) },
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/merge-patch+json',
          'content-length': Buffer.byteLength(body),
        },
      },
      (response) => {
        response.resume();
        response.once('error', reject);
        response.once('end', () => resolve(response.statusCode ?? 0));
      },
    );
    sent.once('error', reject);
    sent.end(body);
  });

const outcomeOf = (status: number): PatchOutcome => {
  if (status === 200) return 'ok';
  if (status === 401 || status === 403) return 'forbidden';
  return status === 404 ? 'not_found' : 'error';
};
