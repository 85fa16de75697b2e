import type { Deserializer } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { ConnectError, ConnectionClosedError } from '../errors.js';
import type { ResolvedServerOptions } from '../options.js';
import { BLOCK_GRACE_MS, BLOCK_MS, BlockingReader } from '../redis/blocking-reader.js';
import { ensureGroup } from '../redis/groups.js';
import type { Log } from '../redis/log.js';
import type { NamespaceConnection } from '../redis/namespace-connection.js';
import { commandFailure, isNoGroup, messageOf } from '../redis/redis-errors.js';
import { Gate } from '../util/gate.js';
import { settledWithin } from '../util/time.js';
import { CallerWatch } from './caller-watch.js';
import { Cancellations } from './cancellations.js';
import { Claims } from './claims.js';
import type { Instance } from './context.js';
import { ControlReader } from './control-reader.js';
import { DeadLetterWriter } from './dead-letter-writer.js';
import type { Delivery } from './delivery.js';
import { Dispatcher } from './dispatcher.js';
import { orphanedStreams } from './control-stream.js';
import { handOver } from './handover.js';
import type { Handlers } from './handlers.js';
import { Holdings } from './holdings.js';
import { Inventory } from './inventory.js';
import type { Lane } from './lane.js';
import { Lease } from './lease.js';
import { Orphans } from './orphans.js';
import type { WithHooks } from './pipeline.js';
import { ReplyWriter } from './reply-writer.js';
import { Reporter } from './reporter.js';
import { RetryQueue } from './retry-queue.js';
import { Settlement } from './settlement.js';
import { Sweeper } from './sweeper.js';

/** How long `stop()` waits, after the handlers, for Redis to confirm their replies, and to take what is handed over. */
const FLUSH_WITHIN_MS = 2_000;

/**
 * The most requests taken at a time. In one large batch client, Redis and server wait for each other by turns; in
 * several they work at the same time (measured at 128 in flight: a quarter more requests a second).
 */
const MAX_BATCH = 48;

/** How many messages a log line names. */
const MAX_NAMED = 5;

/** From this delivery on an entry runs alone: two instances have died with it, and perhaps of it. */
const ALONE_FROM = 3;

/** How often it is looked for strays after a connection for reading was replaced. */
const STRAYS_EVERY_MS = 1_000;

/** What a worker is made from. */
export interface WorkerDeps {
  namespace: NamespaceConnection;
  options: ResolvedServerOptions;
  handlers: Handlers;
  instance: Instance & { random: string };
  log: Log;
  deserializer: Deserializer;
  normalize: (pattern: string) => string;
  hooks: () => WithHooks | undefined;
}

/**
 * One instance of a service, from its registration to its end: its lease, its readers, and what they feed. Inbox and
 * topics are read apart, each on a connection of its own, since every stream named in an XREADGROUP costs Redis time,
 * and event patterns must not tax requests.
 */
export class Worker {
  private readonly inbox: string;
  private readonly topics: string[];
  private readonly streams: readonly string[];
  private readonly reporter: Reporter;
  private readonly lease: Lease;
  private readonly holdings = new Holdings<Delivery>();
  private readonly settlement: Settlement;
  private readonly replies: ReplyWriter;
  private readonly retries: RetryQueue;
  private readonly deadLetters: DeadLetterWriter;
  private readonly cancellations = new Cancellations();
  private readonly dispatcher: Dispatcher;
  private readonly claims: Claims;
  private readonly inventory: Inventory;
  private readonly orphans: Orphans;
  private readonly sweeper: Sweeper;
  private readonly control: ControlReader;
  private readonly callers: CallerWatch;
  private readonly reading = new Gate(true);
  private readonly strayTimers = new Set<NodeJS.Timeout>();
  private readonly readers = new Map<'inbox' | 'topics' | 'control', BlockingReader>();
  private checked = 0;

  constructor(private readonly deps: WorkerDeps) {
    const { namespace, instance, handlers, log, options } = deps;
    const { service } = instance;
    this.inbox = namespace.keys.inbox(service);
    this.topics = handlers.eventRoutes.map((route) => namespace.keys.topic(route));
    this.streams = [this.inbox, ...this.topics];
    this.reporter = new Reporter(namespace.hooks, instance, log);
    const { holdings, reporter, cancellations } = this;
    this.lease = new Lease({
      namespace,
      instance,
      ttl: options.lease,
      log,
      verify: (awayFor) => this.verify(awayFor),
      onHeld: () => this.goOn(),
      onRenewed: () => this.lookAround(),
    });
    const right = this.lease;
    this.settlement = new Settlement(namespace, service, holdings, right, log);
    this.replies = new ReplyWriter(namespace, right, log);
    this.deadLetters = new DeadLetterWriter(namespace, options.deadLetters, holdings, right, reporter);
    this.retries = new RetryQueue({
      namespace,
      holdings,
      right,
      reporter,
      limit: options.maxWaitingRetries,
      room: () => this.dispatcher.eventLane.free,
      start: (move, history) => this.claims.start(move, history),
    });
    const { settlement, replies, deadLetters, retries } = this;
    this.dispatcher = new Dispatcher({
      ...deps,
      holdings,
      settlement,
      replies,
      retries,
      deadLetters,
      cancellations,
      reporter,
      onRoom: () => this.onRoom(),
    });
    const { dispatcher } = this;
    this.claims = new Claims(namespace, instance, dispatcher);
    const { claims } = this;
    this.inventory = new Inventory({ namespace, holdings, claims, retries, reporter });
    const shared = { namespace, lease: this.lease, reporter, streams: this.streams };
    this.orphans = new Orphans({
      ...shared,
      holdings,
      claims,
      dispatcher,
      retries,
      ttl: options.lease,
      quiesce: (withinMs) => this.quiesce(withinMs),
      resume: () => this.resume(),
    });
    this.sweeper = new Sweeper({
      ...shared,
      aloneFrom: Math.min(ALONE_FROM, options.retry.maxDeliveries + 1),
      onOrphans: (stream) => this.orphans.notice(stream),
    });
    this.control = new ControlReader(namespace, reporter, {
      cancelled: (requestId) => {
        cancellations.add(requestId);
        dispatcher.requests.cancel(requestId);
      },
      orphaned: (stream) => this.orphans.notice(stream),
    });
    this.callers = new CallerWatch(namespace, () => dispatcher.requests.executions);
  }

  /** The id of this instance, and its consumer's name. */
  get instance(): string {
    return this.deps.instance.id;
  }

  /** Resolves when the first reads have been written. */
  async start(): Promise<void> {
    const { namespace, options, instance } = this.deps;
    // Left behind by all instances of the service, perhaps, while nobody was there to take them.
    let orphaned: string[] = [];
    namespace.commands.on('ready', this.onReady);
    namespace.onForgotten(this.onForgotten);
    await namespace.settingUp(async () => {
      // Before the first read, so that whatever this instance is given can be found when it dies.
      await this.lease.start();
      await this.ensureGroups(this.streams);
      await this.control.begin();
      orphaned = await orphanedStreams(namespace, instance.service);
    });
    this.readers.set('inbox', this.inboxReader());
    if (this.topics.length > 0) {
      this.readers.set('topics', this.topicReader());
    }
    this.readers.set('control', this.control.reader);
    const reading = Promise.all([...this.readers.values()].map((reader) => reader.start()));
    if (!(await settledWithin(reading, options.connectTimeout))) {
      throw new ConnectError(`The connections for reading did not open within ${options.connectTimeout} ms.`);
    }
    this.sweeper.start();
    orphaned.forEach((stream) => this.orphans.notice(stream));
  }

  /**
   * Stops reading, waits for handlers, then takes from those that still run the right to settle, waits for Redis to
   * confirm the rest, and hands over what is left. Everything is bounded, with a dead Redis too.
   */
  async stop(handlersWithin: number): Promise<void> {
    const { namespace } = this.deps;
    try {
      const orphansTaken = this.orphans.close();
      this.retries.hold();
      await Promise.all([
        this.sweeper.close(),
        ...[...this.readers.values()].map((reader) => reader.stop(namespace.commands)),
      ]);
      await this.waitForHandlers(orphansTaken, handlersWithin);
      this.retries.close();
      this.dispatcher.revokeRunning(
        new ConnectionClosedError('The server is closing and has waited for its handlers long enough.'),
      );
      this.deadLetters.close();
      if (namespace.commands.isReady) {
        await settledWithin(this.flush(), FLUSH_WITHIN_MS);
      }
    } finally {
      this.replies.close();
      this.settlement.close();
      this.lease.stop();
      namespace.commands.off('ready', this.onReady);
      namespace.offForgotten(this.onForgotten);
      this.strayTimers.forEach(clearInterval);
    }
    if (namespace.commands.isReady) {
      await settledWithin(this.handOver(), FLUSH_WITHIN_MS);
    }
    this.reporter.close();
  }

  private async waitForHandlers(orphansTaken: Promise<void>, withinMs: number): Promise<void> {
    const { log } = this.deps;
    const running = this.dispatcher.describeRunning().length;
    if (running > 0) {
      log.log(`Closing: waiting up to ${withinMs} ms for ${running} messages that are being handled`);
    }
    const idle = orphansTaken.then(() => this.dispatcher.whenIdle());
    if (!(await settledWithin(idle, withinMs))) {
      const left = this.dispatcher.describeRunning();
      log.warn(
        `Closing: ${left.length} messages were still being handled after ${withinMs} ms and are handed over: ` +
          `${left.slice(0, MAX_NAMED).join(', ')}${left.length > MAX_NAMED ? ', …' : ''}. ` +
          `Raise 'shutdownTimeout' if handlers need longer.`,
      );
    }
  }

  private async flush(): Promise<void> {
    await this.replies.drain();
    await this.settlement.drain();
  }

  private async handOver(): Promise<void> {
    const mayBeGivenMore = [...this.readers.values()].some((reader) => reader.mayBlockUnseen);
    try {
      await handOver(this.deps.namespace, this.deps.instance, this.streams, mayBeGivenMore);
    } catch (error) {
      this.deps.log.warn(
        `What was not settled could not be handed over (${messageOf(error)}); others take it over when the lease has run out`,
      );
    }
  }

  private inboxReader(): BlockingReader {
    const { requestLane } = this.dispatcher;
    return this.reader('inbox', [this.inbox], requestLane, () => Math.min(MAX_BATCH, requestLane.free));
  }

  private topicReader(): BlockingReader {
    const { eventLane } = this.dispatcher;
    const { retries, topics } = this;
    return this.reader(
      'topics',
      topics,
      eventLane,
      // COUNT is for each stream named.
      () => (eventLane.free > 0 ? Math.max(1, Math.floor(eventLane.free / topics.length)) : 0),
      () => retries.whenFree(),
    );
  }

  private reader(
    role: 'inbox' | 'topics',
    streams: readonly string[],
    lane: Lane,
    count: () => number,
    room: () => Promise<void> | undefined = () => undefined,
  ): BlockingReader {
    const { namespace, log } = this.deps;
    return new BlockingReader({
      role,
      factory: namespace.factory,
      log,
      room: () => this.reading.wait() ?? lane.whenFree() ?? room(),
      read: (redis) => this.read(redis, count(), streams),
      deliver: (batches) => this.dispatcher.takeBatches(batches),
      connected: () => this.watchForStrays(role),
      repair: (error) => this.repair(error, streams),
    });
  }

  private read(redis: Redis, count: number, streams: readonly string[]): Promise<unknown> | undefined {
    const { namespace, instance } = this.deps;
    if (!this.lease.isHeld) {
      this.lease.restore();
      return undefined;
    }
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

  /** A group that is gone (FLUSHALL, DEL, XGROUP DESTROY, failover) is made again, from the beginning. */
  private async repair(error: Error, streams: readonly string[]): Promise<boolean> {
    if (!isNoGroup(error)) {
      return false;
    }
    await this.ensureGroups(streams);
    return true;
  }

  private async ensureGroups(streams: readonly string[]): Promise<void> {
    const { namespace, instance } = this.deps;
    await Promise.all(streams.map((stream) => ensureGroup(namespace.commands, stream, instance.service)));
  }

  /** A slot is free, or more: what waits has its turn before what is read. */
  private onRoom(): void {
    this.retries.startDue();
    this.orphans.take();
  }

  private async verify(awayFor: number): Promise<void> {
    await this.inventory.giveUpLost(awayFor);
    this.dispatcher.requestLane.dropLost();
    this.dispatcher.eventLane.dropLost();
  }

  private goOn(): void {
    this.replies.resume();
    this.settlement.resume();
    this.onRoom();
  }

  /** At each renewal, one after the other in rotation: is there something in our name that we do not know? */
  private lookAround(): void {
    const turn = this.checked++;
    const stream = this.streams[Math.floor(turn / 3) % this.streams.length]!;
    const { inventory } = this;
    const looks = [
      () => this.startStrays(stream),
      () => inventory.takeInWaiting(stream),
      () => inventory.giveBackAlone(stream),
    ];
    this.background('Looking for strays', looks[turn % looks.length]!);
    this.background('Looking for callers', () => this.callers.look());
  }

  /**
   * What Redis gave to a connection that was lost, or gives to it as long as it does not know, turns up within BLOCK and
   * a grace.
   */
  private watchForStrays(role: 'inbox' | 'topics'): void {
    const until = performance.now() + BLOCK_MS + BLOCK_GRACE_MS;
    const streams = role === 'inbox' ? [this.inbox] : this.topics;
    const timer = setInterval(() => {
      for (const stream of streams) {
        this.background('Looking for strays', () => this.startStrays(stream));
      }
      if (performance.now() > until) {
        clearInterval(timer);
        this.strayTimers.delete(timer);
      }
    }, STRAYS_EVERY_MS);
    this.strayTimers.add(timer);
  }

  private async startStrays(stream: string): Promise<void> {
    const reader = this.readers.get(stream === this.inbox ? 'inbox' : 'topics');
    await this.inventory.startStrays(stream, () => reader?.readingFor);
  }

  /** What is looked for besides, and again before long: that Redis is away is nothing to report. */
  private background(what: string, work: () => Promise<unknown>): void {
    if (this.lease.isHeld && this.deps.namespace.commands.isReady) {
      work().catch((error: unknown) => {
        if (commandFailure(error) === 'refused') {
          this.reporter.warnings.report(what, `${what} failed: ${messageOf(error)}`);
        }
      });
    }
  }

  /** Stops starting and reading anything; resolves to whether all that was taken is settled within the time. */
  private async quiesce(withinMs: number): Promise<boolean> {
    this.reading.shut();
    this.dispatcher.requestLane.pause();
    this.dispatcher.eventLane.pause();
    return settledWithin(
      this.dispatcher.whenIdle().then(() => this.flush()),
      withinMs,
    );
  }

  private resume(): void {
    this.reading.open();
    this.dispatcher.requestLane.resume();
    this.dispatcher.eventLane.resume();
  }

  private readonly onReady = (): void => {
    this.lease.restore();
    this.goOn();
    // The answers to moving entries may have been lost.
    for (const stream of this.streams) {
      this.background('Looking for strays', () => this.inventory.takeInWaiting(stream));
      this.background('Looking for strays', () => this.inventory.giveBackAlone(stream));
    }
  };

  private readonly onForgotten = (): void => {
    this.control.beginAgain();
    this.lease.restore();
  };
}
