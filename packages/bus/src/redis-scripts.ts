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
 * The appends of one turn of the event loop, by group: what is read and written once per group is shared by its publications.
 * KEYS for each group: stream meta, then the result of each of its publications with an idempotency key
 * ARGV 1 epoch for new streams · 2 result ttl ms · 3 publish command ·
 *      4 command that counts the subscribers of a channel, for publications that need one;
 *      for each group: channel, not as a key: a cluster would redirect for it while the slot moves · message head up to the data
 *      length · text before the publication · size · ttl ms · meta ttl ms · number of publications;
 *      for each of these: flags · data length · open publication [· attributes] [· version · version epoch]
 * Flags: 1 a missing stream is created only if the channel has subscribers · 2 idempotency key · 4 attributes · 8 version
 * Returns a line for each publication: offset, epoch, outcome (0 published, 1 repeated, 2 outdated, 3 no subscribers), or `-` and the
 * error. Fails if every publication fails.
 * Each replica has a number, hence its own script: after SCRIPT FLUSH no other replica loads it between two calls in flight.
 */
export const appendScript = (number: number): RedisScript =>
  script(`
-- ${number}
local next_key, next_arg = 1, 5
local stream, meta, channel, head, before, size, is_open, is_changed
local epoch, top, version, version_epoch
local function open()
  local known = redis.call('HMGET', meta, 'e', 's', 'v', 've')
  epoch, top, version, version_epoch = known[1], tonumber(known[2] or 0), known[3], known[4]
  is_open = true
end
local function line(offset, outcome) return string.format('%.0f %s %d', offset, epoch, outcome) end
local function append(flags, length, text, attributes, number, number_epoch, result)
  if result then
    local known = redis.call('HMGET', result, 's', 'e')
    if known[1] then return known[1] .. ' ' .. known[2] .. ' 1' end
  end
  if not is_open then open() end
  if not epoch then
    if flags % 2 == 1 then
      -- A Redis user without permission for PUBSUB keeps the publication.
      local subscribers = redis.pcall('PUBSUB', ARGV[4], channel)
      if not subscribers.err and subscribers[2] == 0 then return '0  3' end
    end
    redis.call('HSET', meta, 'e', ARGV[1])
    epoch = ARGV[1]
  end
  if number then
    if version and tonumber(version) >= tonumber(number) and (number_epoch == '' or number_epoch == version_epoch) then
      return line(top, 2)
    end
    redis.call('HSET', meta, 'v', number, 've', number_epoch)
    version, version_epoch = number, number_epoch
  end
  local offset = string.format('%.0f', top + 1)
  local tail = '}'
  if top == 0 then
    -- A stream without offset and epoch is of an earlier epoch, and is not part of the new stream.
    redis.call('DEL', stream)
    tail = ',"epoch":"' .. epoch .. '"}'
  end
  local publication = text .. ',"offset":' .. offset .. tail
  redis.call('XADD', stream, 'MAXLEN', size, offset .. '-0', 'p', publication, 'l', length, 'n', attributes)
  top, is_changed = top + 1, true
  redis.call(ARGV[3], channel,
    head .. length .. ' ' .. offset .. ' ' .. epoch .. attributes .. '\\n' .. before .. publication .. '}}')
  if result then
    redis.call('HSET', result, 's', offset, 'e', epoch)
    redis.call('PEXPIRE', result, ARGV[2])
  end
  return line(top, 0)
end
local function close(ttl, meta_ttl)
  redis.call('HSET', meta, 's', string.format('%.0f', top))
  redis.call('PEXPIRE', meta, meta_ttl)
  redis.call('PEXPIRE', stream, ttl)
end
local function error_line(fault)
  return '-' .. string.gsub(type(fault) == 'table' and fault.err or tostring(fault), '%s+', ' ')
end
local lines, failed = {}, 0
while next_arg <= #ARGV do
  stream, meta = KEYS[next_key], KEYS[next_key + 1]
  channel, head, before, size = ARGV[next_arg], ARGV[next_arg + 1], ARGV[next_arg + 2], ARGV[next_arg + 3]
  local ttl, meta_ttl, count = ARGV[next_arg + 4], ARGV[next_arg + 5], tonumber(ARGV[next_arg + 6])
  next_key, next_arg, is_open, is_changed = next_key + 2, next_arg + 7, false, false
  local first = #lines + 1
  for _ = 1, count do
    local flags, length, text = tonumber(ARGV[next_arg]), ARGV[next_arg + 1], ARGV[next_arg + 2]
    local attributes, number, number_epoch, result = '', nil, nil, nil
    next_arg = next_arg + 3
    if flags % 4 >= 2 then result, next_key = KEYS[next_key], next_key + 1 end
    if flags % 8 >= 4 then attributes, next_arg = ARGV[next_arg], next_arg + 1 end
    if flags >= 8 then number, number_epoch, next_arg = ARGV[next_arg], ARGV[next_arg + 1], next_arg + 2 end
    local ok, answer = pcall(append, flags, length, text, attributes, number, number_epoch, result)
    if not ok then answer, failed = error_line(answer), failed + 1 end
    lines[#lines + 1] = answer
  end
  if is_changed then
    local ok, fault = pcall(close, ttl, meta_ttl)
    if not ok then for at = first, #lines do lines[at] = error_line(fault) end end
  end
end
if failed == #lines then return {err = string.sub(lines[1], 2)} end
return table.concat(lines, '\\n')`);

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
 * The newest publication of many groups.
 * KEYS stream and meta of each group · ARGV 1 epoch for new streams, then the meta ttl ms of each group.
 * Returns for each group `offset epoch`, or that, its newest entry and the lifetime of the stream in ms; '' for a group that
 * cannot be read.
 */
export const READ_NEWEST = script(`
local found = {}
for number = 1, #KEYS / 2 do
  local stream, key = KEYS[2 * number - 1], KEYS[2 * number]
  local meta = redis.pcall('HMGET', key, 'e', 's')
  if meta.err then found[number] = ''
  else
    local epoch = meta[1]
    if not epoch then
      epoch = ARGV[1]
      redis.call('HSET', key, 'e', epoch)
    end
    redis.call('PEXPIRE', key, ARGV[number + 1])
    local top = (meta[2] or '0') .. ' ' .. epoch
    -- Without an offset the entries are of an earlier epoch.
    local newest = meta[2] and redis.pcall('XREVRANGE', stream, '+', '-', 'COUNT', 1)
    if not newest then found[number] = top
    elseif newest.err then found[number] = ''
    elseif #newest == 0 then found[number] = top
    else found[number] = {top, newest[1], redis.call('PTTL', stream)} end
  end
end
return found`);

/*
 * KEYS meta of each group · ARGV for each group: its expected `offset epoch`, and the lifetime to set in ms, 0 for none.
 * Returns an index, from 1, and the present `offset epoch` of each group that differs; '' for a missing stream.
 */
export const COMPARE_TOPS = script(`
local different = {}
for number = 1, #KEYS do
  local keep = ARGV[2 * number]
  if keep ~= '0' then redis.call('PEXPIRE', KEYS[number], keep) end
  local meta = redis.call('HMGET', KEYS[number], 's', 'e')
  local top = meta[2] and (meta[1] or '0') .. ' ' .. meta[2] or ''
  if top ~= ARGV[2 * number - 1] then
    different[#different + 1] = number
    different[#different + 1] = top
  end
end
return different`);

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
