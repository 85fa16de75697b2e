import type { ConnectionListener } from './command-connection.js';
import { CommandConnection } from './command-connection.js';
import { isClusterOption, resolveCluster } from './cluster/cluster-option.js';
import { ClusterConnections } from './cluster/cluster-connections.js';
import { ConnectionFactory, type ConnectionMaker, type RedisConnectionOption } from './connection-factory.js';
import type { Log } from './log.js';

/** What connections are made from. */
export interface ConnectionsOptions {
  connection?: RedisConnectionOption;
  namespace: string;
  shards: number;
  /** Milliseconds. */
  connectTimeout: number;
}

/** How a shard is reached. */
export interface ShardConnection {
  commands: CommandConnection;
  factory: ConnectionMaker;
}

/** The connections of a namespace. */
export interface Connections {
  /** Where its Redis is, for messages; never with credentials. */
  readonly address: string;
  /** Whether each shard has to be read by a connection of its own. */
  readonly isCluster: boolean;
  /** One for each shard. */
  readonly ofShards: readonly ShardConnection[];
  /** The connection for commands on a key that belongs to no shard. */
  forKey(key: string): CommandConnection;
  /** Makes connections for reading a key that belongs to no shard. */
  readerAt(key: string): ConnectionMaker;
  /** One to each Redis that holds keys, opened: for what lies anywhere. Rejects where one cannot be opened. */
  everywhere(): Promise<readonly CommandConnection[]>;
  /** Resolves when those of all shards are open; rejects where one cannot be opened. */
  open(): Promise<void>;
  close(): void;
}

/** Throws a `ConfigurationError` for a connection that cannot be used. Opens nothing. */
export function makeConnections(
  options: ConnectionsOptions,
  log: Log,
  listener: ConnectionListener,
): Connections {
  const { connection } = options;
  return isClusterOption(connection)
    ? new ClusterConnections(resolveCluster(connection), options, log, listener)
    : singleConnection(new ConnectionFactory(connection), options, log, listener);
}

/** One Redis holds all shards: one connection for commands serves them all. */
function singleConnection(
  factory: ConnectionFactory,
  { shards, connectTimeout }: ConnectionsOptions,
  log: Log,
  listener: ConnectionListener,
): Connections {
  const commands = new CommandConnection(factory, connectTimeout, log, listener);
  return {
    address: factory.address,
    isCluster: false,
    ofShards: Array.from({ length: shards }, () => ({ commands, factory })),
    forKey: () => commands,
    readerAt: () => factory,
    everywhere: async () => {
      await commands.connect();
      return [commands];
    },
    open: () => commands.connect(),
    close: () => commands.close(),
  };
}
