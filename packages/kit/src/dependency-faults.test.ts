import { expect, test } from 'vitest';
import { TimeoutError } from './clock.ts';
import { dependencyFaultOf } from './dependency-faults.ts';

const error = (message: string, code?: string): Error => Object.assign(new Error(message), { code });

test.each([
  ['startup_parameter', error('unsupported startup parameter: statement_timeout', '08P01')],
  ['startup_parameter', error('unsupported startup parameter in options: lock_timeout', '08P01')],
  ['auth', error('password authentication failed for user "muster"', '28P01')],
  ['auth', error('the key was rejected', 'INVALID_INTERNAL_API_KEY')],
  ['auth', error('SASL authentication failed', '08P01')],
  ['auth', error('WRONGPASS invalid username-password pair or user is disabled.')],
  ['permission', error('permission denied for table sessions', '42501')],
  ['permission', error("NOPERM this user has no permissions to run the 'eval' command")],
  ['permission', error("ERR The user executing the script can't publish to the channel mentioned")],
  ['permission', error('ERR ACL failure in script: User app has no permissions')],
  ['full', error("OOM command not allowed when used memory > 'maxmemory'.")],
  ['full', error('MISCONF Redis is configured to save RDB snapshots')],
  ['full', error('could not extend file: No space left on device', '53100')],
  ['auth', new Error('unavailable', { cause: error('WRONGPASS invalid username-password pair') })],
  ['wrong_database', error('database "mustard" does not exist', '3D000')],
  ['wrong_database', error('no such database: mustard', '08P01')],
  ['wrong_database', error('ERR DB index is out of range')],
  ['too_many_connections', error('sorry, too many clients already', '53300')],
  ['too_many_connections', error('no more connections allowed (max_client_conn)', '08P01')],
  ['too_many_connections', error('ERR max number of clients reached')],
  ['read_only', error('cannot execute INSERT in a read-only transaction', '25006')],
  ['read_only', error("READONLY You can't write against a read only replica.")],
  ['schema', error('relation "sessions" does not exist', '42P01')],
  ['tls', error('self-signed certificate', 'DEPTH_ZERO_SELF_SIGNED_CERT')],
  ['unknown_host', error('getaddrinfo ENOTFOUND postgres', 'ENOTFOUND')],
  ['refused', error('', 'ECONNREFUSED')],
  ['refused', error('the database system is starting up', '57P03')],
  ['timeout', error('canceling statement due to statement timeout', '57014')],
  ['timeout', error('timeout exceeded when trying to connect')],
  ['timeout', error('timeout expired')],
  ['timeout', new TimeoutError('check of database')],
  ['other', error('something else')],
  ['other', undefined],
])('[HL11] [HL26] the reason is %s for: %s', (reason, problem) => {
  expect(dependencyFaultOf(problem)).toBe(reason);
});
