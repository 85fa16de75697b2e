import { RedisCluster } from '../../test/support/redis-cluster.js';
import type { Broker, BrokerUsage } from './broker.js';
import { usageOf } from './redis.js';

const MASTERS = 3;

/** A Redis Cluster of its own, of masters alone. */
export class RedisClusterBroker implements Broker {
  private constructor(private readonly cluster: RedisCluster) {}

  static async start(): Promise<RedisClusterBroker> {
    return new RedisClusterBroker(await RedisCluster.start({ masters: MASTERS, replicas: 0 }));
  }

  /** Of one of its nodes. */
  get port(): number {
    return this.cluster.nodes[0]!.port;
  }

  async usage(): Promise<BrokerUsage> {
    const { cluster } = this;
    const usages = await Promise.all(cluster.nodes.map((node) => usageOf(cluster.look(node))));
    const sum = (of: (usage: Required<BrokerUsage>) => number): number =>
      usages.reduce((total, usage) => total + of(usage as Required<BrokerUsage>), 0);
    return {
      cpu: sum(({ cpu }) => cpu ?? 0),
      cpuOfNodes: usages.map(({ cpu = 0 }) => cpu),
      commands: sum(({ commands }) => commands),
      memory: sum(({ memory }) => memory),
    };
  }

  stop(): Promise<void> {
    return this.cluster.stop();
  }
}
