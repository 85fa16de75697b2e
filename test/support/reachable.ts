import type { RedisStreamsConnectionOptions } from '../../lib/index.js';
import { IS_CLUSTER } from './redis-server.js';

/** On a cluster of one node (`npm run test:cluster`): the same options, which reach it, perhaps by a proxy, as a cluster. */
export function reachable<Options extends RedisStreamsConnectionOptions>(options: Options): Options {
  const { connection } = options;
  if (!IS_CLUSTER || typeof connection !== 'string') {
    return options;
  }
  const { hostname: host, port } = new URL(connection);
  const natMap = (): { host: string; port: number } => ({ host, port: Number(port) });
  return { ...options, connection: { cluster: { nodes: [connection], options: { natMap } } } };
}
