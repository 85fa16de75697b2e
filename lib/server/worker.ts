import type { Deserializer } from '@nestjs/microservices';
import { ConnectError, ConnectionClosedError } from '../errors.js';
import type { ResolvedServerOptions } from '../options.js';
import type { BlockingReader } from '../redis/blocking-reader.js';
import type { Log } from '../redis/log.js';
import type { NamespaceConnection } from '../redis/namespace-connection.js';
import { messageOf } from '../redis/redis-errors.js';
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
import { Intake } from './intake.js';
import { Inventory } from './inventory.js';
import { Lease } from './lease.js';
import { LoneRunner } from './lone-runner.js';
import { Orphans } from './orphans.js';
import { Patrol } from './patrol.js';
import type { WithHooks } from './pipeline.js';
import { ReplyWriter } from './reply-writer.js';
import { Reporter } from './reporter.js';
import { GroupKeeper } from './retention/group-keeper.js';
import { Retention } from './retention/retention.js';
import { RetryQueue } from './retry-queue.js';
import { Settlement } from './settlement.js';
import { Sweeper } from './sweeper.js';

/** How long `stop()` waits, after the handlers, for Redis to confirm their replies, and to take what is handed over. */
const FLUSH_WITHIN_MS = 2_000;

/** How many messages a log line names. */
const MAX_NAMED = 5;

/** From this delivery on an entry runs alone: two instances have died with it, and perhaps of it. */
const ALONE_FROM = 3;

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
  private readonly groups: GroupKeeper;
  private readonly retention: Retention;
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
  private readonly intake: Intake;
  private readonly patrol: Patrol;
  private readonly readers: readonly BlockingReader[];

  constructor(private readonly deps: WorkerDeps) {
    const { namespace, instance, handlers, log, options } = deps;
    const { service } = instance;
    this.inbox = namespace.keys.inbox(service);
    this.topics = handlers.eventRoutes.map((route) => namespace.keys.topic(route));
    this.streams = [this.inbox, ...this.topics];
    this.reporter = new Reporter(namespace.hooks, instance, log);
    const { holdings, reporter, cancellations } = this;
    this.groups = new GroupKeeper(namespace, reporter);
    this.retention = new Retention({
      namespace,
      reporter,
      patterns: handlers.eventRoutes,
      forgetAfter: options.forgetAfter,
    });
    const settled = (stream: string): void => this.retention.settled(stream);
    this.lease = new Lease({
      namespace,
      instance,
      ttl: options.lease,
      log,
      verify: (awayFor) => this.verify(awayFor),
      onHeld: () => {
        this.goOn();
        this.patrol.goOn();
      },
    });
    const right = this.lease;
    this.settlement = new Settlement(namespace, service, holdings, right, log, settled);
    this.replies = new ReplyWriter(namespace, right, log);
    this.deadLetters = new DeadLetterWriter(
      namespace,
      options.deadLetters,
      holdings,
      right,
      reporter,
      settled,
    );
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
    this.claims = new Claims(namespace, instance, right, dispatcher);
    const { claims } = this;
    this.inventory = new Inventory({ namespace, holdings, claims, retries, reporter });
    const shared = { namespace, lease: this.lease, reporter, streams: this.streams };
    const loneRunner = new LoneRunner({
      namespace,
      claims,
      dispatcher,
      reporter,
      ttl: options.lease,
      quiesce: (withinMs) => this.quiesce(withinMs),
      resume: () => this.resume(),
      onFree: () => this.orphans.take(),
    });
    this.orphans = new Orphans({ ...shared, claims, dispatcher, retries, loneRunner });
    this.sweeper = new Sweeper({
      ...shared,
      aloneFrom: Math.min(ALONE_FROM, options.retry.maxDeliveries + 1),
      onOrphans: (stream) => this.orphans.notice(stream),
      onDeath: () => {
        this.retention.settledByOthers();
        this.settlement.removeLeftBehind();
      },
    });
    this.control = new ControlReader(namespace, reporter, {
      cancelled: (requestId) => {
        cancellations.add(requestId);
        dispatcher.requests.cancel(requestId);
      },
      orphaned: (stream) => this.orphans.notice(stream),
    });
    this.patrol = new Patrol({
      inventory: this.inventory,
      claims,
      callers: new CallerWatch(namespace, () => dispatcher.requests.executions),
      right,
      reporter,
      streams: this.streams,
      intake: () => this.intake,
    });
    this.intake = new Intake({
      namespace,
      instance,
      right,
      dispatcher,
      retries,
      log,
      inbox: this.inbox,
      topics: this.topics,
      onConnected: (streams) => this.patrol.watch(streams),
      onDoubtful: (batches) => void this.patrol.recheck(batches),
      ensureGroups: (streams) => this.makeGroupsAgain(streams),
    });
    this.readers = [...this.intake.readers, this.control.reader];
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
    namespace.commands.on('ready', this.onReady).on('lost', this.onLost);
    namespace.onForgotten(this.onForgotten);
    await namespace.settingUp(async () => {
      // Before the first read, so that whatever this instance is given can be found when it dies.
      await this.lease.start();
      // Before the groups are made, so that nobody trims what they are to begin with.
      await this.retention.start();
      await this.groups.ensure(this.streams);
      await this.control.begin();
      orphaned = await orphanedStreams(namespace, instance.service);
    });
    const reading = Promise.all(this.readers.map((reader) => reader.start()));
    if (!(await settledWithin(reading, options.connectTimeout))) {
      throw new ConnectError(`The connections for reading did not open within ${options.connectTimeout} ms.`);
    }
    this.sweeper.start();
    this.settlement.removeLeftBehind();
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
        ...this.intake.readers.map((reader) => reader.stop(namespace.commands)),
      ]);
      await this.waitForHandlers(orphansTaken, handlersWithin);
      // Until now it may have brought cancellations. A read of it that is abandoned takes nothing from anybody.
      this.control.reader.close();
      this.retries.close();
      this.dispatcher.revokeRunning(
        new ConnectionClosedError('The server is closing and has waited for its handlers long enough.'),
      );
      this.deadLetters.close();
      if (namespace.commands.isReady) {
        await settledWithin(this.flush(), FLUSH_WITHIN_MS);
      }
    } finally {
      await this.retention.stop();
      this.replies.close();
      this.settlement.close();
      this.lease.stop();
      namespace.commands.off('ready', this.onReady).off('lost', this.onLost);
      namespace.offForgotten(this.onForgotten);
      this.patrol.close();
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

  private async flush(signal?: AbortSignal): Promise<void> {
    if (!signal?.aborted) {
      await this.replies.drain();
      await this.settlement.drain(signal);
    }
  }

  private async handOver(): Promise<void> {
    const mayBeGivenMore = this.readers.some((reader) => reader.mayBlockUnseen);
    try {
      await handOver(this.deps.namespace, this.deps.instance, this.streams, mayBeGivenMore);
    } catch (error) {
      this.deps.log.warn(
        `What was not settled could not be handed over (${messageOf(error)}); others take it over when the lease has run out`,
      );
    }
  }

  /** What took the groups away may have taken the subscriptions, too. */
  private async makeGroupsAgain(streams: readonly string[]): Promise<void> {
    await this.retention.renew();
    await this.groups.ensure(streams);
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

  /** Stops starting and reading anything; resolves to whether all that was taken is settled within the time. */
  private async quiesce(withinMs: number): Promise<boolean> {
    this.intake.pause();
    this.dispatcher.requestLane.pause();
    this.dispatcher.eventLane.pause();
    const givenUp = new AbortController();
    try {
      const quiet = this.dispatcher.whenIdle().then(() => this.flush(givenUp.signal));
      return await settledWithin(quiet, withinMs);
    } finally {
      givenUp.abort();
    }
  }

  private resume(): void {
    this.intake.resume();
    this.dispatcher.requestLane.resume();
    this.dispatcher.eventLane.resume();
    this.onRoom();
  }

  private readonly onReady = (): void => {
    this.lease.restore();
    this.goOn();
    this.patrol.lookAgain();
  };

  private readonly onLost = (): void => this.lease.unsettle();

  private readonly onForgotten = (): void => {
    this.control.beginAgain();
    this.lease.restore();
  };
}
