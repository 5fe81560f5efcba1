import { createHash } from 'node:crypto';
import type { RedisLink } from '@muster/kit/redis/channels';
import { Cluster, type Redis } from 'ioredis';

/** A Lua script with its digest. */
export interface RedisScript {
  readonly source: string;
  readonly sha: string;
}

const script = (source: string): RedisScript => ({
  source,
  sha: createHash('sha1').update(source).digest('hex'),
});

/*
 * KEYS stream meta [result]
 * ARGV 1 epoch for a new stream · 2 size · 3 ttl ms · 4 meta ttl ms · 5 head · 6 before · 7 open publication ·
 *      8 data length · 9 attributes · 10 result ttl ms, 0 for no key · 11 version, 0 for none · 12 version epoch ·
 *      13 publish command ·
 *      14 channel, not as a key: a cluster would redirect for it while the slot moves ·
 *      15 command that counts the subscribers of the channel: without any no stream is created; '' creates it always
 * Returns offset, epoch, outcome (0 published, 1 repeated, 2 outdated, 3 no subscribers).
 * Each replica has a number, hence its own script: after SCRIPT FLUSH no other replica loads it between two calls in flight.
 */
export const appendScript = (number: number): RedisScript =>
  script(`
-- ${number}
if ARGV[10] ~= '0' then
  local known = redis.call('HMGET', KEYS[3], 's', 'e')
  if known[1] then return {known[1], known[2], 1} end
end
local meta = redis.call('HMGET', KEYS[2], 'e', 's', 'v', 've')
local epoch = meta[1]
if not epoch then
  if ARGV[15] ~= '' then
    -- A Redis user without permission for PUBSUB keeps the publication.
    local subscribers = redis.pcall('PUBSUB', ARGV[15], ARGV[14])
    if not subscribers.err and subscribers[2] == 0 then return {'0', '', 3} end
  end
  epoch = ARGV[1]
  redis.call('HSET', KEYS[2], 'e', epoch)
end
if ARGV[11] ~= '0' then
  if meta[3] and tonumber(meta[3]) >= tonumber(ARGV[11]) and (ARGV[12] == '' or ARGV[12] == meta[4]) then
    return {meta[2] or '0', epoch, 2}
  end
  redis.call('HSET', KEYS[2], 'v', ARGV[11], 've', ARGV[12])
end
local number = redis.call('HINCRBY', KEYS[2], 's', 1)
local offset = string.format('%.0f', number)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
local publication = ARGV[7] .. ',"offset":' .. offset
if number == 1 then
  -- A stream without offset and epoch is of an earlier epoch, and is not part of the new stream.
  redis.call('DEL', KEYS[1])
  publication = publication .. ',"epoch":"' .. epoch .. '"'
end
publication = publication .. '}'
redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], offset .. '-0', 'p', publication, 'l', ARGV[8], 'n', ARGV[9])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call(ARGV[13], ARGV[14], ARGV[5] .. offset .. ' ' .. epoch .. ARGV[9] .. '\\n' .. ARGV[6] .. publication .. '}}')
if ARGV[10] ~= '0' then
  redis.call('HSET', KEYS[3], 's', offset, 'e', epoch)
  redis.call('PEXPIRE', KEYS[3], ARGV[10])
end
return {offset, epoch, 0}`);

/*
 * KEYS stream meta
 * ARGV 1 epoch for a new stream · 2 meta ttl ms · 3 first id · 4 last id · 5 count, 0 for none · 6 reverse ·
 *      7 bytes, 0 for no bound
 * Returns offset, epoch, entries, lifetime of the stream in ms (negative for none).
 */
export const READ = script(`
local meta = redis.call('HMGET', KEYS[2], 'e', 's')
local epoch = meta[1]
if not epoch then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[2], 'e', epoch)
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
-- Without an offset the entries are of an earlier epoch.
if ARGV[5] == '0' or not meta[2] then return {meta[2] or '0', epoch, {}, -2} end
local entries, remaining = {}, redis.call('PTTL', KEYS[1])
local first, last, wanted, bound = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[7])
-- With a bound in pages, so that entries above it are not read.
local page, bytes = bound == 0 and wanted or math.min(wanted, 8), 0
while wanted > 0 do
  local some
  if ARGV[6] == '1' then some = redis.call('XREVRANGE', KEYS[1], last, first, 'COUNT', page)
  else some = redis.call('XRANGE', KEYS[1], first, last, 'COUNT', page) end
  for _, entry in ipairs(some) do
    bytes = bytes + #entry[2][2]
    if bound > 0 and bytes > bound and #entries > 0 then return {meta[2], epoch, entries, remaining} end
    entries[#entries + 1] = entry
  end
  wanted = wanted - #some
  if #some < page or (bound > 0 and bytes >= bound) then break end
  local reached = tonumber(string.match(some[#some][1], '^%d+'))
  if ARGV[6] == '1' then last = string.format('%.0f-0', reached - 1)
  else first = string.format('%.0f-0', reached + 1) end
  page = bound == 0 and wanted or math.max(1, math.min(wanted, math.floor((bound - bytes) * #entries / bytes)))
end
return {meta[2], epoch, entries, remaining}`);

/*
 * KEYS stream meta · ARGV 1 publish command · 2 channel · 3 head
 * Notifies the subscribers of the position up to which publications were removed. Returns offset, epoch.
 */
export const CLEAR = script(`
redis.call('DEL', KEYS[1])
local meta = redis.call('HMGET', KEYS[2], 's', 'e')
if meta[1] then redis.call(ARGV[1], ARGV[2], ARGV[3] .. meta[1] .. ' ' .. meta[2] .. '\\n') end
return {meta[1] or '0', meta[2] or ''}`);

/* KEYS meta · ARGV 1 epoch seen · 2 offset seen · 3 new epoch · 4 meta ttl ms. Returns offset, epoch. */
export const INVALIDATE_EPOCH = script(`
local meta = redis.call('HMGET', KEYS[1], 'e', 's')
local epoch = meta[1]
local offset = meta[2] or '0'
if not epoch or (epoch == ARGV[1] and tonumber(offset) < tonumber(ARGV[2])) then
  epoch = ARGV[3]
  redis.call('HSET', KEYS[1], 'e', epoch)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return {offset, epoch}`);

/*
 * A publication that is not kept, once for an idempotency key.
 * KEYS result · ARGV 1 result ttl ms · 2 publish command · 3 channel · 4 message. Returns 0 published, 1 repeated.
 */
export const PUBLISH_ONCE = script(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
redis.call(ARGV[2], ARGV[3], ARGV[4])
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
return 0`);

/* KEYS presence · ARGV 1 prefix of the values of a crashed replica. Removes them; returns client, value, client … */
export const REMOVE_STALE_PRESENCE = script(`
local all = redis.call('HGETALL', KEYS[1])
local gone = {}
for at = 1, #all, 2 do
  if string.sub(all[at + 1], 1, #ARGV[1]) == ARGV[1] then
    redis.call('HDEL', KEYS[1], all[at])
    gone[#gone + 1] = all[at]
    gone[#gone + 1] = all[at + 1]
  end
end
return gone`);

/*
 * KEYS set of the groups of this replica, then a presence for each group · ARGV for each group: its name, 1 if this replica
 * has clients in it, count of additions, count of removals, client and value of each addition, client of each removal.
 * Returns the indexes of failed groups, from 1.
 */
export const WRITE_PRESENCE = script(`
local failed = {}
local function run(command, key, first, last)
  local fine = true
  -- The Lua stack limits unpack to a few thousand values.
  for from = first, last, 2000 do
    local answer = redis.pcall(command, key, unpack(ARGV, from, math.min(from + 1999, last)))
    if type(answer) == 'table' and answer.err then fine = false end
  end
  return fine
end
local at = 1
for number = 2, #KEYS do
  local group, here = ARGV[at], ARGV[at + 1]
  local coming, going = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  at = at + 4
  local came = run('HSET', KEYS[number], at, at + 2 * coming - 1)
  at = at + 2 * coming
  local went = run('HDEL', KEYS[number], at, at + going - 1)
  at = at + going
  if here ~= '1' then redis.call('SREM', KEYS[1], group)
  elseif coming > 0 then redis.call('SADD', KEYS[1], group) end
  if not (came and went) then failed[#failed + 1] = number - 1 end
end
return failed`);

const loaded = new WeakMap<Redis, Set<string>>();

/**
 * Runs a script by its digest. On a new connection SCRIPT LOAD is sent first on the same connection, so that a missing
 * script does not reorder calls.
 */
export const runScript = async (
  lane: RedisLink,
  { source, sha }: RedisScript,
  keys: readonly string[],
  args: readonly (string | number | Buffer)[],
): Promise<unknown> => {
  loadScripts(lane, { source, sha });
  try {
    return await lane.evalsha(sha, keys.length, ...keys, ...args);
  } catch (error) {
    // A new node of the cluster, or a server after SCRIPT FLUSH.
    if (!isUnknownScript(error)) throw error;
    return lane.eval(source, keys.length, ...keys, ...args);
  }
};

/** After SCRIPT FLUSH: the next call loads the source again. */
export const reloadScript = (lane: RedisLink, { sha }: RedisScript): void => {
  for (const node of lane instanceof Cluster ? lane.nodes('master') : [lane]) loaded.get(node)?.delete(sha);
};

export const isUnknownScript = (error: unknown): boolean =>
  error instanceof Error && error.message.startsWith('NOSCRIPT');

export const loadScripts = (lane: RedisLink, script: RedisScript): void => {
  for (const node of lane instanceof Cluster ? lane.nodes('master') : [lane]) loadScript(node, script);
};

const loadScript = (redis: Redis, { source, sha }: RedisScript): void => {
  let known = loaded.get(redis);
  if (known === undefined) {
    known = new Set();
    loaded.set(redis, known);
    redis.on('close', () => known?.clear());
  }
  if (known.has(sha)) return;
  known.add(sha);
  redis.script('LOAD', source).catch(() => known?.delete(sha));
};
