import { Redis } from 'ioredis';
import { settingsFor, type ConnectionMaker } from '../connection-factory.js';
import { connectorTo } from './connector.js';
import { nameOf, type ClusterTopology, type NodeAddress } from './topology.js';
import type { RedisOptions } from 'ioredis';

/** Makes the connections to a cluster: each to the node that has a slot, wherever that is, or to a certain node. */
export class ClusterFactory {
  constructor(
    private readonly topology: ClusterTopology,
    private readonly redisOptions: RedisOptions,
  ) {}

  /** Connections that follow a slot. */
  atSlot(slot: number): ConnectionMaker {
    const { topology } = this;
    return this.maker(
      () => {
        const master = topology.masterOf(slot);
        return master ? nameOf(master) : topology.address;
      },
      () => topology.locate(slot),
    );
  }

  /** Connections to one node, as long as it is a master. */
  atNode(node: NodeAddress): ConnectionMaker {
    return this.maker(
      () => nameOf(node),
      () => Promise.resolve(node),
    );
  }

  private maker(address: () => string, locate: () => Promise<NodeAddress>): ConnectionMaker {
    const Connector = connectorTo(locate);
    const { redisOptions } = this;
    return {
      get address(): string {
        return address();
      },
      create: (role) => new Redis({ ...redisOptions, ...settingsFor(role), Connector }),
    };
  }
}
