import type { Redis } from 'ioredis';
import { ConnectError } from '../errors.js';
import { BLOCK_MS, BlockingReader } from '../redis/blocking-reader.js';
import { isNoGroup, messageOf } from '../redis/redis-errors.js';
import { settledWithin } from '../util/time.js';
import { Dispatcher, type DispatcherDeps } from './dispatcher.js';
import { ReplyWriter } from './reply-writer.js';
import { GroupKeeper } from './retention/group-keeper.js';
import { Retention } from './retention/retention.js';
import { Settlement } from './settlement.js';

/** How long `stop()` waits, after the handlers, for Redis to confirm their replies. */
const FLUSH_WITHIN_MS = 2_000;

/**
 * The most requests taken at a time. In one large batch client, Redis and server wait for each other by turns; in
 * several they work at the same time (measured at 128 in flight: a quarter more requests a second).
 */
const MAX_BATCH = 48;

/** How many messages a log line names. */
const MAX_NAMED = 5;

/** What a worker is made from. */
export type WorkerDeps = Omit<DispatcherDeps, 'settlement' | 'replies'>;

/**
 * One instance of a service, from its registration to its end: the two readers, and what they feed. Inbox and topics
 * are read apart, each on a connection of its own, since every stream named in an XREADGROUP costs Redis time, and
 * event patterns must not tax requests.
 */
export class Worker {
  private readonly settlement: Settlement;
  private readonly replies: ReplyWriter;
  private readonly dispatcher: Dispatcher;
  private readonly retention: Retention;
  private readonly groups: GroupKeeper;
  private readonly inbox: string;
  private readonly topics: string[];
  private readers: BlockingReader[] = [];

  constructor(private readonly deps: WorkerDeps) {
    const { namespace, options, instance, handlers, log } = deps;
    this.inbox = namespace.keys.inbox(instance.service);
    this.topics = handlers.eventRoutes.map((route) => namespace.keys.topic(route));
    const { service } = instance;
    const shared = { namespace, service, hooks: namespace.hooks, log };
    const { forgetAfter } = options;
    this.groups = new GroupKeeper(shared);
    this.retention = new Retention({ ...shared, patterns: handlers.eventRoutes, forgetAfter });
    const acknowledged = (stream: string): void => this.retention.acknowledged(stream);
    this.settlement = new Settlement(namespace, service, log, acknowledged);
    this.replies = new ReplyWriter(namespace, log);
    this.dispatcher = new Dispatcher({ ...deps, settlement: this.settlement, replies: this.replies });
  }

  /** The id of this instance, and its consumer's name. */
  get instance(): string {
    return this.deps.instance.id;
  }

  /** Resolves when the first reads have been written. */
  async start(): Promise<void> {
    const { namespace, options } = this.deps;
    namespace.commands.on('ready', this.onReady);
    namespace.onForgotten(this.onForgotten);
    await namespace.settingUp(async () => {
      await this.register();
      await this.retention.start();
      await this.groups.ensure([this.inbox, ...this.topics]);
    });
    this.readers = [this.inboxReader()];
    if (this.topics.length > 0) {
      this.readers.push(this.topicReader());
    }
    const reading = Promise.all(this.readers.map((reader) => reader.start()));
    if (!(await settledWithin(reading, options.connectTimeout))) {
      throw new ConnectError(`The connections for reading did not open within ${options.connectTimeout} ms.`);
    }
  }

  /**
   * Stops reading, waits for handlers, then takes from those that still run the right to settle, and waits for Redis to
   * confirm the rest. Everything is bounded, with a dead Redis too.
   */
  async stop(handlersWithin: number): Promise<void> {
    const { namespace } = this.deps;
    try {
      await Promise.all(this.readers.map((reader) => reader.stop(namespace.commands)));
      await this.waitForHandlers(handlersWithin);
      this.dispatcher.revokeRunning();
      if (namespace.commands.isReady) {
        await settledWithin(this.flush(), FLUSH_WITHIN_MS);
      }
    } finally {
      await this.retention.stop();
      this.replies.close();
      this.settlement.close();
      this.groups.close();
      namespace.commands.off('ready', this.onReady);
      namespace.offForgotten(this.onForgotten);
    }
  }

  private async waitForHandlers(withinMs: number): Promise<void> {
    const { log } = this.deps;
    const running = this.dispatcher.describeRunning().length;
    if (running > 0) {
      log.log(`Closing: waiting up to ${withinMs} ms for ${running} messages that are being handled`);
    }
    if (!(await settledWithin(this.dispatcher.whenIdle(), withinMs))) {
      const left = this.dispatcher.describeRunning();
      log.warn(
        `Closing: ${left.length} messages were still being handled after ${withinMs} ms and stay pending: ` +
          `${left.slice(0, MAX_NAMED).join(', ')}${left.length > MAX_NAMED ? ', …' : ''}. ` +
          `Raise 'shutdownTimeout' if handlers need longer.`,
      );
    }
  }

  private async flush(): Promise<void> {
    await this.replies.drain();
    await this.settlement.drain();
  }

  private inboxReader(): BlockingReader {
    const { namespace, log } = this.deps;
    const { requestSlots } = this.dispatcher;
    return new BlockingReader({
      role: 'inbox',
      factory: namespace.factory,
      log,
      room: () => requestSlots.whenFree(),
      read: (redis) => this.read(redis, Math.min(MAX_BATCH, requestSlots.free), [this.inbox]),
      deliver: (batches) => this.dispatcher.takeInbox(batches),
      repair: (error) => this.repair(error, [this.inbox]),
    });
  }

  private topicReader(): BlockingReader {
    const { namespace, log } = this.deps;
    return new BlockingReader({
      role: 'topics',
      factory: namespace.factory,
      log,
      room: () => this.dispatcher.roomForEvents(),
      // COUNT is for each stream named.
      read: (redis) =>
        this.read(
          redis,
          Math.max(1, Math.floor(this.dispatcher.eventSlots.free / this.topics.length)),
          this.topics,
        ),
      deliver: (batches) => this.dispatcher.takeTopics(batches),
      repair: (error) => this.repair(error, this.topics),
    });
  }

  private read(redis: Redis, count: number, streams: string[]): Promise<unknown> | undefined {
    const { namespace, instance } = this.deps;
    if (namespace.mismatch || count < 1) {
      return undefined;
    }
    const ids = streams.map(() => '>');
    return redis.xreadgroupBuffer(
      'GROUP',
      instance.service,
      instance.id,
      'COUNT',
      count,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      ...streams,
      ...ids,
    );
  }

  /** A group that is gone (FLUSHALL, DEL, XGROUP DESTROY, failover) is made again. */
  private async repair(error: Error, streams: string[]): Promise<boolean> {
    if (!isNoGroup(error)) {
      return false;
    }
    await this.register();
    await this.retention.renew();
    await this.groups.ensure(streams);
    return true;
  }

  /** Before the first read, so that whatever this instance is given can be found when it dies. */
  private async register(): Promise<void> {
    const { namespace, instance } = this.deps;
    const since = String(Math.round(namespace.clock.now()));
    await namespace.commands.client.hsetnx(namespace.keys.instances(instance.service), instance.id, since);
  }

  private readonly onReady = (): void => {
    this.replies.resume();
    this.settlement.resume();
    this.onForgotten();
  };

  private readonly onForgotten = (): void => {
    this.register().catch((error: unknown) =>
      this.deps.log.warn(`This instance could not be registered: ${messageOf(error)}`),
    );
  };
}
