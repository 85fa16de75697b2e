import { isWildcard } from '../protocol/wildcard.js';
import { isReplyError } from '../redis/redis-errors.js';
import { parseEntries, parseSubscriptions, type Subscription } from '../redis/replies.js';
import { carrySubscriptions } from '../redis/scripts/carry-subscriptions.js';
import { forgetSubscriptions } from '../redis/scripts/forget-subscriptions.js';
import { shardOf } from '../redis/sharding.js';
import { claimants, type ShardKey, type ShardPlace } from './layout-survey.js';

/** Entries that are copied at once; each may be as large as a message. */
const ENTRIES_AT_ONCE = 20;

/** Names in one command. */
const NAMES_AT_ONCE = 500;

/** What a shard that is no longer used is emptied of. What is not named here expires, or is not ours. */
const EMPTIED = new Set([
  'inbox',
  'topic',
  'dead',
  'instances',
  'control',
  'cancelled',
  'subscriptions',
  'floors',
  'topics',
  'announce',
  'idle',
]);

/** Before the key of a topic, in the floors: how far it was cut. */
const CUT = 'cut ';

/**
 * Moves what has to lie elsewhere out of one shard, whose messages have all been handled: subscriptions, without which
 * the next events would not be kept for a service that is down; known topics; and events that nobody subscribes to yet.
 * Each step may be done again after an interruption: what is to be kept is written before it is removed.
 */
export async function moveOut(
  source: ShardPlace,
  sourceKeys: readonly ShardKey[],
  places: readonly ShardPlace[],
  shards: number,
): Promise<void> {
  const { client } = source.commands;
  const placeOf = (pattern: string): ShardPlace => places[shardOf(pattern, shards)]!;
  const leaves = (pattern: string): boolean => placeOf(pattern) !== source;

  const all = parseSubscriptions(await client.hgetall(source.keys.subscriptions));
  // A wildcard means topics of all shards, and is said in each.
  const belongs = ({ pattern }: Subscription, place: ShardPlace): boolean =>
    place.index < shards && (isWildcard(pattern) || placeOf(pattern) === place);
  const leaving = all.filter((one) => !belongs(one, source));
  for (const place of places.filter((one) => one !== source)) {
    const some = all.filter((one) => belongs(one, place));
    await carrySubscriptions(place.commands.client, place.keys.subscriptions, some);
  }
  const known = (await client.smembers(source.keys.topics)).filter(leaves);
  for (const [place, patterns] of groupBy(known, placeOf)) {
    for (const some of chunks(patterns, NAMES_AT_ONCE)) {
      await place.commands.client.sadd(place.keys.topics, ...some);
    }
  }
  const topics = sourceKeys.filter(({ kind, name }) => kind === 'topic' && leaves(name));
  for (const { key, name: pattern } of topics) {
    // What is subscribed to has been settled by everybody.
    if ((await client.exists(key)) === 1 && (await claimants(source, key, pattern, all)).length === 0) {
      await copyEntries(source, key, placeOf(pattern), pattern);
    }
    await client.unlink(key);
  }
  for (const some of chunks(known, NAMES_AT_ONCE)) {
    await client.srem(source.keys.topics, ...some);
  }
  // Only now: until then they say that the events of a topic are nobody's but theirs.
  await forgetSubscriptions(client, source.keys, leaving);
  await removeFloors(source, new Set(topics.map(({ key }) => key)));
  if (source.index >= shards) {
    const emptied = sourceKeys.filter(({ kind }) => EMPTIED.has(kind)).map(({ key }) => key);
    for (const some of chunks(emptied, NAMES_AT_ONCE)) {
      await client.unlink(...some);
    }
  }
}

/** With their ids, which say when they were published. */
async function copyEntries(
  source: ShardPlace,
  from: string,
  target: ShardPlace,
  pattern: string,
): Promise<void> {
  const to = target.keys.topic(pattern);
  let start = '-';
  for (;;) {
    const reply = await source.commands.client.xrangeBuffer(from, start, '+', 'COUNT', ENTRIES_AT_ONCE);
    const entries = parseEntries(reply);
    for (const { id, fields = [] } of entries) {
      try {
        await target.commands.client.xadd(to, id, ...fields);
      } catch (error) {
        if (!(isReplyError(error) && error.message.includes('equal or smaller'))) {
          throw error;
        }
        // Copied before an interruption.
      }
      start = `(${id}`;
    }
    if (entries.length < ENTRIES_AT_ONCE) {
      return;
    }
  }
}

/** A topic of the same key that comes into being later must not be taken for the one of which they tell. */
async function removeFloors({ commands, keys }: ShardPlace, topics: ReadonlySet<string>): Promise<void> {
  const fields = await commands.client.hkeys(keys.floors);
  const gone = fields.filter(
    (field) =>
      topics.has(field.slice(0, field.lastIndexOf(' '))) ||
      (field.startsWith(CUT) && topics.has(field.slice(CUT.length))),
  );
  for (const some of chunks(gone, NAMES_AT_ONCE)) {
    await commands.client.hdel(keys.floors, ...some);
  }
}

function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) {
      group.push(item);
    } else {
      groups.set(key, [item]);
    }
  }
  return groups;
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );
}
