import { ConnectError, LayoutMismatchError } from '../errors.js';
import { RedisStreamsHooks } from '../hooks.js';
import { BurstLog } from '../util/burst-log.js';
import { describeError } from '../util/describe-error.js';
import { Shared } from '../util/shared.js';
import { RedisClock } from './clock.js';
import { CommandConnection } from './command-connection.js';
import { ConnectionFactory, type RedisConnectionOption } from './connection-factory.js';
import { Keys } from './keys.js';
import { checkLayout, recheckLayout } from './layout.js';
import type { Log } from './log.js';
import { messageOf } from './redis-errors.js';
import { checkServer } from './server-check.js';

/** How often layout and clock are looked at while the connection is open. */
const CHECK_EVERY_MS = 30_000;

/** What a connection to a namespace is made from. */
export interface NamespaceOptions {
  connection?: RedisConnectionOption;
  namespace: string;
  /** Milliseconds. */
  connectTimeout: number;
}

/**
 * One namespace on one Redis: the command connection, the keys, the clock and the hooks that all clients and the server
 * of a module share. It is open while somebody who opened it has not closed it.
 *
 * Being open means: connected, the server checked, the layout found right, the clock known. Layout and clock are
 * looked at again after every reconnect and on a timer. A layout that stops fitting is in `mismatch`, which readers
 * and publishers look at before they go on.
 */
export class NamespaceConnection extends Shared {
  readonly factory: ConnectionFactory;
  readonly commands: CommandConnection;
  readonly keys: Keys;
  readonly clock = new RedisClock();
  /** What all clients and the server of a module report to. */
  readonly hooks: RedisStreamsHooks;
  /** Why the namespace may not be used at present. */
  mismatch: LayoutMismatchError | undefined;
  private readonly connectTimeout: number;
  private readonly listenerErrors: BurstLog;
  private readonly forgottenListeners = new Set<() => void>();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    options: NamespaceOptions,
    private readonly log: Log,
  ) {
    super();
    this.connectTimeout = options.connectTimeout;
    this.hooks = new RedisStreamsHooks((error, name) =>
      log.error(`A listener to '${name}' failed: ${describeError(error)}`),
    );
    this.factory = new ConnectionFactory(options.connection);
    this.commands = new CommandConnection(this.factory, options.connectTimeout, log);
    this.keys = new Keys(options.namespace);
    this.listenerErrors = new BurstLog((line) => log.error(line));
    this.hooks = new RedisStreamsHooks((error, name) =>
      this.listenerErrors.report(
        `Listener of '${name}'`,
        `A listener of '${name}' failed: ${describeError(error)}`,
      ),
    );
    const { address } = this.factory;
    this.commands.on('lost', (reason) => this.hooks.report('lost', { address, reason }));
    this.commands.on('ready', () => {
      this.hooks.report('connected', { address });
      if (this.timer) {
        void this.check();
      }
    });
  }

  /** Calls back when Redis turns out to have lost the namespace, as after FLUSHALL: what was registered is gone. */
  onForgotten(listener: () => void): void {
    this.forgottenListeners.add(listener);
  }

  offForgotten(listener: () => void): void {
    this.forgottenListeners.delete(listener);
  }

  protected async start(): Promise<void> {
    await this.commands.connect();
    await this.settingUp(async () => {
      await checkServer(this.commands, this.log);
      await checkLayout(this.commands, this.keys);
      await this.clock.synchronize(this.commands);
    });
    clearInterval(this.timer);
    this.mismatch = undefined;
    this.timer = setInterval(() => void this.check(), CHECK_EVERY_MS);
    // A look at the layout is no reason to keep a process alive; the connection is.
    this.timer.unref();
  }

  /** Runs what belongs to opening a connection. Whatever it fails with is a `ConnectError`, or an error of ours. */
  async settingUp(work: () => Promise<void>): Promise<void> {
    try {
      // Others may have opened the connection long ago, and it may just be away.
      await this.commands.whenReady(this.connectTimeout);
      await work();
    } catch (error) {
      throw ConnectError.from(error, this.factory.address, messageOf(error));
    }
  }

  protected stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.mismatch = undefined;
    this.listenerErrors.close();
    this.commands.close();
  }

  private async check(): Promise<void> {
    if (!this.commands.isReady) {
      return;
    }
    try {
      const isNew = await recheckLayout(this.commands, this.keys);
      if (this.mismatch) {
        this.mismatch = undefined;
        this.log.log(`The layout of namespace '${this.keys.namespace}' fits again`);
      }
      if (isNew) {
        this.log.warn(
          `Redis has lost the namespace '${this.keys.namespace}' and all messages in it (restarted without persistence, FLUSHALL, or another server): it is set up again`,
        );
        for (const listener of this.forgottenListeners) {
          listener();
        }
      }
      await this.clock.synchronize(this.commands);
    } catch (error) {
      if (error instanceof LayoutMismatchError) {
        this.mismatch = error;
        this.log.error(error.message);
      } else {
        // A lost connection has been reported by itself, and 'ready' brings us here again.
        this.log.warn(
          `The layout of namespace '${this.keys.namespace}' could not be checked: ${messageOf(error)}`,
        );
      }
    }
  }
}
