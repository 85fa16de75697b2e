import { CommandConnection, type ConnectionListener } from '../command-connection.js';
import type { ConnectionMaker } from '../connection-factory.js';
import type { Connections, ConnectionsOptions, ShardConnection } from '../connections.js';
import { Keys } from '../keys.js';
import type { Log } from '../log.js';
import { pause } from '../../util/time.js';
import { ClusterFactory } from './cluster-factory.js';
import { keySlot } from './key-slot.js';
import { ClusterTopology, nameOf, type NodeAddress, type TopologyOptions } from './topology.js';

/** What only carries replies is in the log; those of shards are told of, too. */
const UNHEARD: ConnectionListener = { ready: () => undefined, lost: () => undefined };

/** How often it is looked whether a node that is away is still a master. */
const FOLLOW_EVERY_MS = 1_000;

/**
 * The connections to a cluster: one for each shard, which follows its slot, and one for each node that holds reply
 * streams of clients this process answers, made when it is first needed.
 */
export class ClusterConnections implements Connections {
  readonly isCluster = true;
  readonly ofShards: readonly ShardConnection[];
  private readonly topology: ClusterTopology;
  private readonly factory: ClusterFactory;
  private readonly ofNodes = new Map<string, CommandConnection>();
  /** Those that are away, and whose nodes are looked for. */
  private readonly followed = new Set<CommandConnection>();
  private closing = new AbortController();
  /** For keys whose slot nobody serves at present. Never open. */
  private readonly nowhere: CommandConnection;

  constructor(
    topologyOptions: TopologyOptions,
    private readonly options: ConnectionsOptions,
    private readonly log: Log,
    listener: ConnectionListener,
  ) {
    this.topology = new ClusterTopology(topologyOptions);
    this.factory = new ClusterFactory(this.topology, topologyOptions.redisOptions);
    this.nowhere = this.connection(this.factory.atSlot(0), UNHEARD);
    const { namespace, shards } = options;
    this.ofShards = Array.from({ length: shards }, (_, index) => {
      const factory = this.factory.atSlot(keySlot(new Keys(namespace, index).layout));
      return { factory, commands: this.connection(factory, listener) };
    });
  }

  get address(): string {
    return this.topology.address;
  }

  forKey(key: string): CommandConnection {
    const node = this.topology.masterOf(keySlot(key));
    return node ? this.atNode(node) : this.nowhere;
  }

  async everywhere(): Promise<readonly CommandConnection[]> {
    await this.topology.refresh();
    const connections = this.topology.masters.map((node) => this.atNode(node));
    await Promise.all(connections.map((connection) => connection.connect()));
    return connections;
  }

  private atNode(node: NodeAddress): CommandConnection {
    const name = nameOf(node);
    let connection = this.ofNodes.get(name);
    if (!connection) {
      connection = this.connection(this.factory.atNode(node), UNHEARD);
      this.ofNodes.set(name, connection);
      connection.on('lost', () => void this.follow(node));
      connection.connect().catch(() => void this.follow(node));
    }
    return connection;
  }

  readerAt(key: string): ConnectionMaker {
    return this.factory.atSlot(keySlot(key));
  }

  async open(): Promise<void> {
    await Promise.all(this.ofShards.map(({ commands }) => commands.connect()));
  }

  close(): void {
    for (const connection of [...this.ofShards.map(({ commands }) => commands), ...this.ofNodes.values()]) {
      connection.close();
    }
    this.ofNodes.clear();
    this.closing.abort();
    this.closing = new AbortController();
  }

  private connection(maker: ConnectionMaker, listener: ConnectionListener): CommandConnection {
    return new CommandConnection(maker, this.options.connectTimeout, this.log, listener);
  }

  /** A node that is away may be a master no more: its connection is given up then, and whoever needs it gets another. */
  private async follow(node: NodeAddress): Promise<void> {
    const name = nameOf(node);
    const connection = this.ofNodes.get(name);
    if (!connection || this.followed.has(connection)) {
      return;
    }
    this.followed.add(connection);
    const isWanted = (): boolean => this.ofNodes.get(name) === connection && !connection.isReady;
    while (isWanted()) {
      // Where nobody answers, the connections of the shards say so.
      await this.topology.refresh().catch(() => undefined);
      if (!this.topology.isMaster(node) && this.ofNodes.delete(name)) {
        connection.close();
        break;
      }
      await pause(FOLLOW_EVERY_MS, this.closing.signal);
      if (isWanted()) {
        connection.connect().catch(() => undefined);
      }
    }
    this.followed.delete(connection);
  }
}
