import { LayoutMismatchError } from '../errors.js';
import type { RedisStreamsHooks } from '../hooks.js';
import { RedisClock } from './clock.js';
import type { CommandConnection } from './command-connection.js';
import type { ConnectionMaker } from './connection-factory.js';
import { Keys } from './keys.js';
import { checkLayout, recheckLayout, type LayoutSettings } from './layout.js';
import type { Log } from './log.js';
import { messageOf } from './redis-errors.js';

/** How often layout and clock are looked at while the connection is open. */
const CHECK_EVERY_MS = 30_000;

/** What a shard has of its namespace. */
export interface ShardHost {
  readonly hooks: RedisStreamsHooks;
  /** Runs what belongs to opening a connection. Whatever it fails with is a `ConnectError`, or an error of ours. */
  settingUp(commands: CommandConnection, work: () => Promise<void>): Promise<void>;
  /** The connection for commands on a key that no shard's tag is part of: a client's reply stream. */
  connectionFor(key: string): CommandConnection;
}

/** What a shard is made from. */
export interface ShardParts {
  host: ShardHost;
  /** Its own, or, on a single Redis, the one of all shards. */
  commands: CommandConnection;
  /** Makes connections to the Redis that holds the shard. */
  factory: ConnectionMaker;
  namespace: string;
  index: number;
  settings: LayoutSettings;
  log: Log;
}

/**
 * One of the hash tags over which a namespace is spread: its keys, all of which one Redis holds, and the connection to
 * that. While it is open, layout and clock are looked at after every reconnect and on a timer. A layout that stops
 * fitting is in `mismatch`, which readers and publishers look at before they go on.
 */
export class Shard {
  readonly index: number;
  readonly keys: Keys;
  readonly commands: CommandConnection;
  readonly factory: ConnectionMaker;
  readonly clock = new RedisClock();
  /** Why the shard may not be used at present. */
  mismatch: LayoutMismatchError | undefined;
  private readonly forgottenListeners = new Set<() => void>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly parts: ShardParts) {
    this.index = parts.index;
    this.keys = new Keys(parts.namespace, parts.index);
    this.commands = parts.commands;
    this.factory = parts.factory;
    this.commands.on('ready', () => {
      if (this.timer) {
        void this.check();
      }
    });
  }

  /** What all clients and the server of a module report to. */
  get hooks(): RedisStreamsHooks {
    return this.parts.host.hooks;
  }

  /** The connection for commands on a client's reply stream, which lies where its name puts it. */
  connectionFor(replies: string): CommandConnection {
    return this.parts.host.connectionFor(replies);
  }

  /** Over how many the namespace is spread. */
  get count(): number {
    return this.parts.settings.shards;
  }

  settingUp(work: () => Promise<void>): Promise<void> {
    return this.parts.host.settingUp(this.commands, work);
  }

  /** Calls back when Redis turns out to have lost the shard, as after FLUSHALL: what was registered is gone. */
  onForgotten(listener: () => void): void {
    this.forgottenListeners.add(listener);
  }

  offForgotten(listener: () => void): void {
    this.forgottenListeners.delete(listener);
  }

  /** Once its connection is open. */
  async open(): Promise<void> {
    await checkLayout(this.commands, this.keys, this.parts.settings);
    await this.clock.synchronize(this.commands);
    clearInterval(this.timer);
    this.mismatch = undefined;
    this.timer = setInterval(() => void this.check(), CHECK_EVERY_MS);
    // A look at the layout is no reason to keep a process alive; the connection is.
    this.timer.unref();
  }

  close(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.mismatch = undefined;
  }

  private async check(): Promise<void> {
    if (!this.commands.isReady) {
      return;
    }
    const { log, settings } = this.parts;
    try {
      const isNew = await recheckLayout(this.commands, this.keys, settings);
      if (this.mismatch) {
        this.mismatch = undefined;
        log.log(`The layout of ${this.description} fits again`);
      }
      if (isNew) {
        log.warn(
          `Redis has lost ${this.description} and all messages in it (restarted without persistence, FLUSHALL, or another server): it is set up again`,
        );
        for (const listener of this.forgottenListeners) {
          listener();
        }
      }
      await this.clock.synchronize(this.commands);
    } catch (error) {
      if (error instanceof LayoutMismatchError) {
        this.mismatch = error;
        log.error(error.message);
      } else {
        // A lost connection has been reported by itself, and 'ready' brings us here again.
        log.warn(`The layout of ${this.description} could not be checked: ${messageOf(error)}`);
      }
    }
  }

  private get description(): string {
    const { namespace, index, settings } = this.parts;
    return settings.shards === 1
      ? `the namespace '${namespace}'`
      : `shard ${index} of namespace '${namespace}'`;
  }
}
