import { EventEmitter } from 'node:events';
import { ConnectError } from '../errors.js';
import { RedisStreamsHooks } from '../hooks.js';
import { BurstLog } from '../util/burst-log.js';
import { describeError } from '../util/describe-error.js';
import { Shared } from '../util/shared.js';
import type { CommandConnection, ConnectionEvents } from './command-connection.js';
import type { RedisConnectionOption } from './connection-factory.js';
import { makeConnections, type Connections } from './connections.js';
import type { Log } from './log.js';
import { messageOf } from './redis-errors.js';
import { checkServer } from './server-check.js';
import { Shard, type ShardHost } from './shard.js';

/** What a namespace is made from. */
export interface NamespaceOptions {
  connection?: RedisConnectionOption;
  namespace: string;
  /** Over how many hash tags it is spread. */
  shards: number;
  /** Milliseconds. */
  connectTimeout: number;
}

/**
 * One namespace: the shards, with their connections for commands, and the hooks that all clients and the server of a
 * module share. It is open while somebody who opened it has not closed it.
 *
 * Being open means: connected, the servers checked, the layout found right, the clocks known.
 */
export class Namespace extends Shared implements ShardHost {
  readonly connections: Connections;
  readonly shards: readonly Shard[];
  /** What all clients and the server of a module report to. */
  readonly hooks: RedisStreamsHooks;
  /** What befalls the connections for commands: `ready` when all are, `lost` when one is. */
  readonly link: EventEmitter<ConnectionEvents>;
  private readonly connectTimeout: number;
  private readonly listenerErrors: BurstLog;

  constructor(
    options: NamespaceOptions,
    private readonly log: Log,
  ) {
    super();
    const { connectTimeout, namespace, shards } = options;
    this.connectTimeout = connectTimeout;
    this.listenerErrors = new BurstLog((line) => log.error(line));
    this.hooks = new RedisStreamsHooks((error, name) =>
      this.listenerErrors.report(
        `Listener of '${name}'`,
        `A listener of '${name}' failed: ${describeError(error)}`,
      ),
    );
    const { hooks } = this;
    this.connections = makeConnections(options, log, {
      ready: (address) => hooks.report('connected', { address }),
      lost: (address, reason) => hooks.report('lost', { address, reason }),
    });
    this.link = linkOf([...new Set(this.connections.ofShards.map(({ commands }) => commands))]);
    this.shards = this.connections.ofShards.map(
      (parts, index) => new Shard({ ...parts, host: this, namespace, index, settings: { shards }, log }),
    );
  }

  /** The shard of everything that belongs to the namespace as a whole. */
  get root(): Shard {
    return this.shards[0]!;
  }

  /** Where its Redis is, for messages; never with credentials. */
  get address(): string {
    return this.connections.address;
  }

  /** The shards in groups of those that one connection can read together. */
  get readableTogether(): readonly (readonly Shard[])[] {
    return this.connections.isCluster ? this.shards.map((shard) => [shard]) : [this.shards];
  }

  connectionFor(key: string): CommandConnection {
    return this.connections.forKey(key);
  }

  async settingUp(commands: CommandConnection, work: () => Promise<void>): Promise<void> {
    try {
      // Others may have opened the connection long ago, and it may just be away.
      await commands.whenReady(this.connectTimeout);
      await work();
    } catch (error) {
      throw ConnectError.from(error, commands.address, messageOf(error));
    }
  }

  protected async start(): Promise<void> {
    await this.connections.open();
    const [root, ...others] = this.shards;
    // The first tells whether we and others mean the same namespace, before anything is written to the rest.
    await this.openShard(root!);
    await Promise.all(others.map((shard) => this.openShard(shard)));
  }

  protected stop(): void {
    for (const shard of this.shards) {
      shard.close();
    }
    this.listenerErrors.close();
    this.connections.close();
  }

  private openShard(shard: Shard): Promise<void> {
    return shard.settingUp(async () => {
      if (shard === this.root || this.connections.isCluster) {
        await checkServer(shard.commands, this.log);
      }
      await shard.open();
    });
  }
}

/** All connections for commands as if they were one: whoever looks at them wants to know whether everything works. */
function linkOf(connections: readonly CommandConnection[]): EventEmitter<ConnectionEvents> {
  const [only] = connections;
  if (only && connections.length === 1) {
    return only;
  }
  const link = new EventEmitter<ConnectionEvents>().setMaxListeners(0);
  let isReady = false;
  for (const connection of connections) {
    connection.on('ready', () => {
      if (!isReady && connections.every((one) => one.isReady)) {
        isReady = true;
        link.emit('ready');
      }
    });
    connection.on('lost', (reason) => {
      if (isReady) {
        isReady = false;
        link.emit('lost', reason);
      }
    });
    connection.on('closed', () => {
      if (isReady) {
        isReady = false;
        link.emit('closed');
      }
    });
  }
  return link;
}
