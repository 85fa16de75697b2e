import { Redis, type RedisOptions } from 'ioredis';
import type { RedisStreamsClient } from '../../lib/index.js';
import { eventually } from './wait.js';

/** A plain connection for looking at what lies in Redis. */
export function inspector(url: string): Redis {
  return new Redis(url, { connectionName: 'inspector' });
}

/** The roles of all our connections that Redis knows, sorted: `['commands', 'replies']`. */
export async function connectionRoles(redis: Redis): Promise<string[]> {
  const list = (await redis.client('LIST')) as string;
  return [...list.matchAll(/ name=nestjs-redis-streams:(\w+)/g)].map(([, role]) => role!).sort();
}

/** Waits until our connections are exactly these. */
export async function expectRoles(redis: Redis, ...roles: string[]): Promise<void> {
  const wanted = roles.sort().join();
  let found = '';
  const isSo = async (): Promise<boolean> => (found = (await connectionRoles(redis)).join()) === wanted;
  await eventually(isSo, `connections [${wanted}]`).catch((error: unknown) => {
    throw new Error(`${String(error)}; there are [${found}]`);
  });
}

/** The fields of every entry of a stream, in order. */
export async function entriesOf(redis: Redis, stream: string): Promise<Record<string, string>[]> {
  const entries = await redis.xrange(stream, '-', '+');
  return entries.map(([, fields]) => {
    const entry: Record<string, string> = {};
    for (let i = 0; i + 1 < fields.length; i += 2) {
      entry[fields[i]!] = fields[i + 1]!;
    }
    return entry;
  });
}

/** What a client holds on to: requests that wait for a reply, and messages that wait to be written. */
export function heldBy(client: RedisStreamsClient): { pending: number; queued: number } {
  const { session } = client as unknown as {
    session: { pendingRequests: number; queuedMessages: number };
  };
  return { pending: session.pendingRequests, queued: session.queuedMessages };
}

/** A connection option with which only the connections of these roles go to `port`, the rest to `otherPort`. */
export function routed(
  roles: string[],
  port: number,
  otherPort: number,
  own: RedisOptions = {},
): (options: RedisOptions) => Redis {
  return (options) => {
    const role = options.connectionName!.split(':')[1]!;
    return new Redis({
      ...own,
      ...options,
      host: '127.0.0.1',
      port: roles.includes(role) ? port : otherPort,
    });
  };
}
