import { means } from '../protocol/wildcard.js';
import type { CommandConnection } from '../redis/command-connection.js';
import type { Keys } from '../redis/keys.js';
import { isReplyError } from '../redis/redis-errors.js';
import { parseGroups, parseSubscriptions, type GroupInfo, type Subscription } from '../redis/replies.js';
import { countAfter } from '../redis/scripts/count-after.js';
import { TAKEN } from '../redis/scripts/renew-lease.js';
import type { LayoutState, WaitingMessages } from './layout.interface.js';

/** Keys in one look at a database, which may hold many that are not ours. */
const KEYS_PER_LOOK = 1_000;

/** Further than this is not counted: it is far from drained. */
const COUNTED_UP_TO = 10_000;

const BEGINNING = '0-0';

/** Where a shard is. */
export interface ShardPlace {
  index: number;
  keys: Keys;
  commands: CommandConnection;
}

/** A key of a shard, taken apart: `{ns:2}:topic:a` is `topic`, `a`. */
export interface ShardKey {
  key: string;
  kind: string;
  /** What follows the kind: a service, a pattern. */
  name: string;
}

/** All keys of these shards. */
export async function findKeys(places: readonly ShardPlace[]): Promise<Map<ShardPlace, ShardKey[]>> {
  const found = new Map(places.map((place) => [place, [] as ShardKey[]]));
  // On a single Redis all shards are on one connection, and are found by one look.
  for (const commands of new Set(places.map((place) => place.commands))) {
    const here = new Map(
      places.filter((place) => place.commands === commands).map((place) => [place.index, place]),
    );
    const { namespace } = places[0]!.keys;
    const ours = `{${namespace}:`;
    for await (const key of keysLike(commands, `${escapeGlob(ours)}*`)) {
      const [, index, kind, name = ''] = /^(\d+)\}:([^:]+)(?::(.*))?$/s.exec(key.slice(ours.length)) ?? [];
      const place = here.get(Number(index));
      if (place && kind !== undefined) {
        found.get(place)!.push({ key, kind, name });
      }
    }
  }
  return found;
}

/** The ids of all clients that have a stream for replies. */
export async function findClients(connections: readonly CommandConnection[], keys: Keys): Promise<string[]> {
  const clients = new Set<string>();
  const prefix = keys.replies('');
  for (const commands of connections) {
    for await (const key of keysLike(commands, `${escapeGlob(prefix)}*`)) {
      clients.add(key.slice(prefix.length));
    }
  }
  return [...clients];
}

/** What lies in one shard. */
export async function survey(
  place: ShardPlace,
  keys: readonly ShardKey[],
): Promise<Pick<LayoutState, 'waiting' | 'unclaimed' | 'scheduled' | 'deadLetters' | 'instances'>> {
  const { index: shard, commands } = place;
  const { client } = commands;
  const named = (kind: string): ShardKey[] => keys.filter((one) => one.kind === kind);
  const subscriptions = parseSubscriptions(await client.hgetall(place.keys.subscriptions));
  const waiting: WaitingMessages[] = [];
  const unclaimed: LayoutState['unclaimed'] = [];
  for (const { key, name: service } of named('inbox')) {
    waiting.push({ shard, service, pattern: undefined, ...(await backlog(place, key, service)) });
  }
  for (const { key, name: pattern } of named('topic')) {
    const services = await claimants(place, key, pattern, subscriptions);
    for (const service of services) {
      waiting.push({ shard, service, pattern, ...(await backlog(place, key, service)) });
    }
    if (services.length === 0) {
      unclaimed.push({ shard, pattern, entries: await client.xlen(key) });
    }
  }
  const deadLetters: LayoutState['deadLetters'] = [];
  for (const { key, name: service } of named('dead')) {
    deadLetters.push({ shard, service, entries: await client.xlen(key) });
  }
  const scheduled: LayoutState['scheduled'] = [];
  for (const { key } of keys.filter(({ kind, name }) => kind === 'scheduled' && name === '')) {
    scheduled.push({ shard, entries: await client.zcard(key) });
  }
  const instances: LayoutState['instances'] = [];
  for (const { key, name } of named('lease')) {
    const colon = name.lastIndexOf(':');
    const value = await client.get(key);
    if (value !== null && value !== TAKEN) {
      instances.push({ service: name.slice(0, colon), instance: name.slice(colon + 1) });
    }
  }
  const isAny = ({ entries }: { entries: number }): boolean => entries > 0;
  return {
    waiting: waiting.filter(({ undelivered, pending }) => undelivered + pending > 0),
    unclaimed: unclaimed.filter(isAny),
    scheduled: scheduled.filter(isAny),
    deadLetters: deadLetters.filter(isAny),
    instances,
  };
}

/**
 * The services that a topic's events are kept for: those that subscribe to its pattern, and those that have a group on
 * it and subscribe to anything.
 */
export async function claimants(
  { commands }: ShardPlace,
  topic: string,
  pattern: string,
  subscriptions: readonly Subscription[],
): Promise<string[]> {
  // Broadcasts wait for nobody.
  const waited = subscriptions.filter(({ isBroadcast }) => !isBroadcast);
  const services = new Set(waited.map(({ service }) => service));
  const groups = await groupsOf(commands, topic);
  return [
    ...new Set([
      ...waited.filter((one) => means(one.pattern, pattern)).map(({ service }) => service),
      ...groups.map(({ name }) => name).filter((name) => services.has(name)),
    ]),
  ];
}

/** A group that is not there begins at its floor, or at the beginning. */
async function backlog(
  { commands, keys }: ShardPlace,
  stream: string,
  service: string,
): Promise<{ undelivered: number; pending: number }> {
  const { client } = commands;
  const groups = await groupsOf(commands, stream);
  const group = groups.find(({ name }) => name === service);
  const from = group?.lastDelivered ?? (await client.hget(keys.floors, `${stream} ${service}`)) ?? BEGINNING;
  return {
    undelivered: await countAfter(client, stream, from, COUNTED_UP_TO),
    pending: group?.pending ?? 0,
  };
}

/** None where the stream has just been removed by an instance that cleans up. */
async function groupsOf({ client }: CommandConnection, stream: string): Promise<GroupInfo[]> {
  try {
    return parseGroups(await client.xinfo('GROUPS', stream));
  } catch (error) {
    if (isReplyError(error) && error.message.includes('no such key')) {
      return [];
    }
    throw error;
  }
}

async function* keysLike(commands: CommandConnection, pattern: string): AsyncGenerator<string> {
  let cursor = '0';
  const seen = new Set<string>();
  do {
    const [next, keys] = await commands.client.scan(cursor, 'MATCH', pattern, 'COUNT', KEYS_PER_LOOK);
    cursor = next;
    for (const key of keys) {
      // SCAN may give a key twice.
      if (!seen.has(key)) {
        seen.add(key);
        yield key;
      }
    }
  } while (cursor !== '0');
}

/** As text in a pattern of SCAN. */
function escapeGlob(text: string): string {
  return text.replace(/[\\*?[\]^]/g, '\\$&');
}
