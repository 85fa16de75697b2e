import type { Broker, BrokerKind } from './broker.js';
import { NoBroker } from './none.js';
import { RedisBroker } from './redis.js';

/** What a deployment wants of its broker. */
export interface BrokerSettings {
  /** Redis keeps an append-only file. */
  isPersistent?: boolean;
}

/** Starts a broker, with nothing stored. */
export function startBroker(kind: BrokerKind, { isPersistent = false }: BrokerSettings): Promise<Broker> {
  switch (kind) {
    case 'redis':
      return RedisBroker.start(isPersistent);
    case 'none':
      return NoBroker.start();
  }
}
