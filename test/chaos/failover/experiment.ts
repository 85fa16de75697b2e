import { RedisStreamsClient } from '../../../lib/index.js';
import { pause } from '../../../lib/util/time.js';
import { Proxy } from '../../support/proxy.js';
import type { RedisCluster } from '../../support/redis-cluster.js';
import type { RedisServer } from '../../support/redis-server.js';
import { eventually } from '../../support/wait.js';
import { PATTERN, Publisher } from './publisher.js';

/*
 * What asynchronous replication can lose: the master of a shard is killed under load, again and again, and what was
 * confirmed to the publisher is looked for in what its replica has.
 */

const LAYOUT = '{nest:0}:layout';
const TOPIC = `{nest:0}:topic:${PATTERN}`;
const LOAD_MS = 1_000;
const REPLACED_WITHIN_MS = 30_000;
const PAGE = 5_000;

/** How far the replica is behind where a machine dies with what its network has not delivered. */
const BEHIND_MS = 2;

/** How long the replica hears nothing of its master before that dies. */
const APART_MS = 3_000;

/** How a master dies. */
export const DEATHS = {
  'its process is killed': { isProxied: false, apartMs: 0 },
  'its machine is gone': { isProxied: true, apartMs: 0 },
  'its replica is cut off before': { isProxied: true, apartMs: APART_MS },
} as const;

/** What is done against it. */
export const REMEDIES = {
  nothing: { minReplicas: 0, waits: false },
  'min-replicas-to-write 1': { minReplicas: 1, waits: false },
  WAIT: { minReplicas: 0, waits: true },
} as const;

export type Death = keyof typeof DEATHS;
export type Remedy = keyof typeof REMEDIES;

/** What one master's death has cost. */
export interface Toll {
  /** Events that were confirmed before it. */
  confirmed: number;
  /** How many of all that was confirmed nobody has any more. */
  gone: number;
  /** How long before its death the first of them was confirmed; milliseconds, 0 where there is none. */
  from: number;
  /** Events a second, before anything happened. */
  rate: number;
  /** Events that were not confirmed before it, or while its replica was elected. */
  failures: ReadonlyMap<string, number>;
}

/** Kills the master of a shard once. All replicas follow their masters before and after it. */
export async function killOnce(cluster: RedisCluster, death: Death, remedy: Remedy): Promise<Toll> {
  const { isProxied, apartMs } = DEATHS[death];
  const { minReplicas, waits } = REMEDIES[remedy];
  await cluster.flush();
  const victim = await cluster.masterOf(LAYOUT);
  const proxy = isProxied ? await Proxy.start(victim.port) : undefined;
  const client = new RedisStreamsClient({ connection: cluster.connection, timeout: 2_000 });
  try {
    await setMinReplicas(cluster, minReplicas);
    if (proxy) {
      proxy.delay(BEHIND_MS);
      await cluster.announce(victim, proxy.port);
    }
    await client.connect();
    const publisher = new Publisher(client, waits);
    await pause(LOAD_MS);
    const rate = (publisher.confirmed.length / LOAD_MS) * 1_000;
    // Nothing that is under way arrives any more.
    proxy?.freeze();
    await pause(apartMs);
    const diedAt = performance.now();
    await victim.kill('SIGKILL');
    const successor = await successorOf(cluster, victim);
    await publisher.stop();
    const kept = await namesIn(cluster, successor);
    const gone = publisher.confirmed.filter(({ name }) => !kept.has(name));
    return {
      confirmed: publisher.confirmed.filter(({ at }) => at < diedAt).length,
      gone: gone.length,
      from: gone.reduce((longest, { at }) => Math.max(longest, diedAt - at), 0),
      rate,
      failures: publisher.failures,
    };
  } finally {
    await client.close();
    if (!victim.isRunning) {
      await victim.start();
    }
    await proxy?.stop();
    await setMinReplicas(cluster, 0);
    await cluster.settled();
    await cluster.replicated();
  }
}

async function successorOf(cluster: RedisCluster, victim: RedisServer): Promise<RedisServer> {
  await eventually(
    async () => (await cluster.masterOf(LAYOUT)) !== victim,
    'the replica to be elected',
    REPLACED_WITHIN_MS,
  );
  await cluster.settled();
  return cluster.masterOf(LAYOUT);
}

async function setMinReplicas(cluster: RedisCluster, count: number): Promise<void> {
  for (const node of cluster.nodes) {
    const redis = cluster.look(node);
    await redis.config('SET', 'min-replicas-max-lag', '1');
    await redis.config('SET', 'min-replicas-to-write', String(count));
  }
}

async function namesIn(cluster: RedisCluster, node: RedisServer): Promise<Set<string>> {
  const redis = cluster.look(node);
  const names = new Set<string>();
  let from = '-';
  for (;;) {
    const entries = await redis.xrange(TOPIC, from, '+', 'COUNT', PAGE);
    for (const [id, fields] of entries) {
      names.add(JSON.parse(fields[fields.indexOf('data') + 1]!) as string);
      from = `(${id}`;
    }
    if (entries.length < PAGE) {
      return names;
    }
  }
}
