import type { Grant, OpenedSession } from '@muster/client/session-types';
import type { Context } from './command.ts';

/** User of the sessions that commands create for themselves. */
const USER = 'muster-cli';

/** Creates a session, calls `run`, and ends the session also when `run` rejects. */
export const withTemporarySession = async <T>(
  context: Context,
  {
    label,
    grants,
    tenant,
  }: {
    readonly label: string;
    readonly grants: readonly Grant[];
    /** Default: the tenant of the API key, else `default`. */
    readonly tenant?: string | undefined;
  },
  run: (session: OpenedSession & { readonly token: string }) => Promise<T>,
): Promise<T> => {
  const { body } = await context.send<OpenedSession>({
    method: 'POST',
    path: '/v1/sessions',
    idempotencyKey: true,
    body: { user_id: USER, tenant, transport: 'bearer', remember: false, label, grants },
  });
  try {
    return await run({ ...body, token: body.token ?? '' });
  } finally {
    await endSession(context, body.id);
  }
};

/** Ends a session; resolves also when it has ended already. */
export const endSession = async (context: Context, id: string): Promise<void> => {
  await context.send({ method: 'DELETE', path: `/v1/sessions/${id}` });
};
