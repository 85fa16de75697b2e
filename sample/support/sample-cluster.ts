import { ensureRedis } from '../../test/support/redis-binary.js';
import { RedisCluster } from '../../test/support/redis-cluster.js';
import type { ClusterSettings, Closable } from './settings.js';

const MASTERS = 3;

/** Its three shards lie at three masters. */
const NAMESPACE = 'bakery';

/**
 * A throw-away cluster, whatever `REDIS_URL` says: a sample that kills a node must not do so to somebody's. Rejects, and
 * leaves nothing, where the interruption comes first.
 */
export async function openSampleCluster(
  say: (line: string) => void,
  interruption: AbortSignal,
): Promise<ClusterSettings & Closable> {
  if (process.env['REDIS_URL']) {
    say('REDIS_URL is left alone: this sample kills a node, and starts a cluster of its own for that');
  }
  ensureRedis(say);
  say('Starting a cluster of three masters and three replicas');
  const cluster = await RedisCluster.startUnless(interruption, { masters: MASTERS });
  return {
    connection: { cluster: { nodes: cluster.nodes.map(({ url }) => url) } },
    namespace: NAMESPACE,
    close: () => cluster.stop(),
  };
}
