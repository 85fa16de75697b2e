import type { Broker, BrokerKind } from './broker.js';
import { NatsBroker } from './nats.js';
import { NoBroker } from './none.js';
import { RabbitBroker } from './rabbitmq.js';
import { RedisBroker } from './redis.js';
import { RedisClusterBroker } from './redis-cluster.js';

/** What a deployment wants of its broker. */
export interface BrokerSettings {
  /** Redis keeps an append-only file. */
  isPersistent?: boolean;
  /** A Redis Cluster in place of a Redis. */
  isCluster?: boolean;
}

/** Starts a broker, with nothing stored. */
export function startBroker(
  kind: BrokerKind,
  { isPersistent = false, isCluster = false }: BrokerSettings,
): Promise<Broker> {
  switch (kind) {
    case 'redis':
      return isCluster ? RedisClusterBroker.start() : RedisBroker.start(isPersistent);
    case 'nats':
      return NatsBroker.start();
    case 'rabbitmq':
      return RabbitBroker.start();
    case 'none':
      return NoBroker.start();
  }
}
