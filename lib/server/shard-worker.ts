import type { Deserializer } from '@nestjs/microservices';
import type { ResolvedServerOptions } from '../options.js';
import type { StreamBatch } from '../redis/replies.js';
import type { Shard } from '../redis/shard.js';
import { registerTopic } from '../redis/topics.js';
import { CallerWatch } from './caller-watch.js';
import { Cancellations } from './cancellations.js';
import { Claims } from './claims.js';
import type { Instance } from './context.js';
import { orphanedStreams } from './control-stream.js';
import { DeadLetterWriter } from './dead-letter-writer.js';
import type { Delivery } from './delivery.js';
import { Dispatcher, type Lanes } from './dispatcher.js';
import { handOver } from './handover.js';
import type { Handlers, ShardSubscriptions } from './handlers.js';
import { Holdings } from './holdings.js';
import { Inventory } from './inventory.js';
import { Lease, type RightToSettle } from './lease.js';
import type { LoneRunner } from './lone-runner.js';
import { Orphans } from './orphans.js';
import { Patrol } from './patrol.js';
import type { WithHooks } from './pipeline.js';
import { ReplyWriter } from './reply-writer.js';
import type { Reporter } from './reporter.js';
import { GroupKeeper } from './retention/group-keeper.js';
import { Retention } from './retention/retention.js';
import { RetryQueue } from './retry-queue.js';
import { Settlement } from './settlement.js';
import { Streams } from './streams.js';
import { Sweeper } from './sweeper.js';
import type { TopicListener } from './topic-watch.js';

/** From this delivery on an entry runs alone: two instances have died with it, and perhaps of it. */
const ALONE_FROM = 3;

/** What of an instance is the same in all shards. */
export interface InstanceParts {
  options: ResolvedServerOptions;
  handlers: Handlers;
  instance: Instance & { random: string };
  reporter: Reporter;
  deserializer: Deserializer;
  normalize: (pattern: string) => string;
  hooks: () => WithHooks | undefined;
  lanes: Lanes;
  loneRunner: LoneRunner;
}

/** What one shard's work is made from. */
export interface ShardWorkerDeps extends InstanceParts {
  shard: Shard;
  /** What the service subscribes to here. */
  wanted: ShardSubscriptions;
  /** How many failed events may wait for their next delivery. */
  maxWaitingRetries: number;
  /** How long a stream's read has been under way, in ms; `undefined` where none is. */
  readingFor: (stream: string) => number | undefined;
  /** What waits for the right to go on may do so. */
  onHeld: () => void;
  /** There are more topics to read, or fewer. */
  onTopics: () => void;
}

/**
 * What an instance does in one shard, from its registration there to its end: its lease, and everything that settles by
 * the right of that. Shards know nothing of each other, so that a node of a cluster that fails takes only its own with it.
 */
export class ShardWorker implements TopicListener {
  readonly shard: Shard;
  readonly streams: Streams;
  readonly retries: RetryQueue;
  readonly dispatcher: Dispatcher;
  readonly cancellations = new Cancellations();
  readonly wildcards: readonly string[];
  private readonly groups: GroupKeeper;
  private readonly retention: Retention;
  private readonly lease: Lease;
  private readonly holdings = new Holdings<Delivery>();
  private readonly settlement: Settlement;
  private readonly replies: ReplyWriter;
  private readonly deadLetters: DeadLetterWriter;
  private readonly inventory: Inventory;
  private readonly orphans: Orphans;
  private readonly sweeper: Sweeper;
  private readonly patrol: Patrol;
  private orphaned: string[] = [];

  constructor(private readonly deps: ShardWorkerDeps) {
    const { shard, instance, reporter, options, lanes, loneRunner } = deps;
    const { service } = instance;
    const { holdings, cancellations } = this;
    const { log } = reporter;
    this.shard = shard;
    this.wildcards = deps.wanted.durable.wildcards;
    this.streams = new Streams(shard.keys, service, deps.wanted.durable.topics);
    const { streams } = this;
    this.groups = new GroupKeeper(shard, reporter);
    this.retention = new Retention({
      shard,
      reporter,
      wanted: deps.wanted,
      streams,
      forgetAfter: options.forgetAfter,
      onVanished: () => this.registerTopicsAgain(),
    });
    const settled = (stream: string): void => this.retention.settled(stream);
    this.lease = new Lease({
      shard,
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
    this.settlement = new Settlement(shard, service, holdings, right, log, settled);
    this.replies = new ReplyWriter(shard, right, log);
    this.deadLetters = new DeadLetterWriter(shard, options.deadLetters, holdings, right, reporter, settled);
    this.retries = new RetryQueue({
      shard,
      holdings,
      right,
      reporter,
      limit: deps.maxWaitingRetries,
      room: () => lanes.events.free,
      start: (move, history) => claims.start(move, history),
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
    });
    const { dispatcher } = this;
    const claims = new Claims(shard, instance, right, dispatcher);
    this.inventory = new Inventory({ shard, holdings, claims, retries, reporter });
    const shared = { shard, lease: this.lease, reporter, streams };
    this.orphans = new Orphans({ ...shared, claims, dispatcher, lanes, retries, loneRunner });
    this.sweeper = new Sweeper({
      ...shared,
      aloneFrom: Math.min(ALONE_FROM, options.retry.maxDeliveries + 1),
      onOrphans: (stream) => this.orphans.notice(stream),
      onDeath: () => {
        this.retention.settledByOthers();
        this.settlement.removeLeftBehind();
      },
    });
    this.patrol = new Patrol({
      inventory: this.inventory,
      claims,
      callers: new CallerWatch(shard, () => dispatcher.requests.executions),
      right,
      reporter,
      streams,
      readingFor: deps.readingFor,
    });
  }

  /** By which this instance reads and settles here. */
  get right(): RightToSettle {
    return this.lease;
  }

  /** Whether it may be read here now. Where the lease is in doubt, that is looked into. */
  get mayRead(): boolean {
    if (!this.lease.isHeld) {
      this.lease.restore();
      return false;
    }
    return !this.shard.mismatch;
  }

  /** Registers the instance and makes its groups. Before the first read. */
  async register(): Promise<void> {
    const { shard } = this;
    shard.commands.on('ready', this.onReady).on('lost', this.onLost);
    shard.onForgotten(this.onForgotten);
    await shard.settingUp(async () => {
      // Before the first read, so that whatever this instance is given can be found when it dies.
      await this.lease.start();
      // Before the groups are made, so that nobody trims what they are to begin with.
      await this.retention.start();
      await this.groups.ensure(this.streams.all);
      // Left behind by all instances of the service, perhaps, while nobody was there to take them.
      this.orphaned = await orphanedStreams(shard, this.deps.instance.service);
    });
  }

  /** Looks after others. Once it is read. */
  begin(): void {
    this.sweeper.start();
    this.settlement.removeLeftBehind();
    this.orphaned.forEach((stream) => this.orphans.notice(stream));
  }

  /** Takes what a read has brought. @param epoch the lease's when the read was begun */
  take(batches: StreamBatch[], epoch: number): void {
    if (this.lease.isHeld && this.lease.epoch === epoch) {
      this.dispatcher.takeBatches(batches);
    } else {
      // Others may have taken what this read has brought.
      void this.patrol.recheck(batches);
    }
  }

  /** A connection that reads the inbox, or the topics, was made, or made again. */
  watch(what: 'inbox' | 'topics'): void {
    this.patrol.watch(what, () => this.streamsOf(what));
  }

  /** The streams of a kind. */
  streamsOf(what: 'inbox' | 'topics'): readonly string[] {
    return what === 'inbox' ? [this.streams.inbox] : this.streams.topics;
  }

  /** Reads one more topic, which a wildcard means: from its beginning, unless the service has a group there. */
  async found(pattern: string): Promise<void> {
    const stream = this.shard.keys.topic(pattern);
    if (!this.streams.has(stream) && (await this.groups.ensureTopic(pattern))) {
      this.streams.add(pattern);
      // What instances that died have left there.
      this.retention.settled(stream);
      this.deps.onTopics();
    }
  }

  /** A topic was removed, with everything in it settled: it is read no more. */
  gone(pattern: string): void {
    this.removeTopic(this.shard.keys.topic(pattern));
  }

  /** Something of a topic was read that nobody will acknowledge. */
  readAsBroadcast(pattern: string): void {
    this.retention.broadcast(pattern);
  }

  /**
   * Makes the groups that are gone. What took them away may have taken the subscriptions, too. Topics that a wildcard
   * means may have been removed: they come back with their next event.
   */
  async makeGroupsAgain(streams: readonly string[]): Promise<void> {
    await this.retention.renew();
    await this.groups.ensure(streams.filter((stream) => !this.streams.isLate(stream)));
    await Promise.all(
      streams
        .filter((stream) => this.streams.isLate(stream))
        .map(async (stream) => {
          if (!(await this.groups.ensureTopic(this.streams.patternOf(stream)!))) {
            this.removeTopic(stream);
          }
        }),
    );
  }

  /** Whoever publishes to them may take them for registered still. */
  private async registerTopicsAgain(): Promise<void> {
    const late = this.streams.topics.filter((stream) => this.streams.isLate(stream));
    await Promise.all(late.map((stream) => registerTopic(this.shard, this.streams.patternOf(stream)!)));
  }

  private removeTopic(stream: string): void {
    if (this.streams.remove(stream)) {
      this.groups.forget(stream);
      this.holdings.forget(stream);
      this.deps.onTopics();
    }
  }

  /** Entries of a stream wait to be taken over. */
  noticeOrphans(stream: string): void {
    this.orphans.notice(stream);
  }

  /** A slot is free, or more: what waits has its turn before what is read. */
  onRoom(): void {
    this.retries.startDue();
    this.orphans.take();
  }

  /** Starts no retry any more, takes nothing over. Resolves when what was being taken is held. */
  async hold(): Promise<void> {
    const orphansTaken = this.orphans.close();
    this.retries.hold();
    await this.sweeper.close();
    await orphansTaken;
  }

  /** Takes from those that still run the right to settle. */
  revoke(reason: Error): void {
    this.retries.close();
    this.dispatcher.revokeRunning(reason);
    this.deadLetters.close();
  }

  /** Resolves when Redis has confirmed all replies and acknowledgements, or `signal` aborts. */
  async flush(signal?: AbortSignal): Promise<void> {
    if (!signal?.aborted) {
      await this.replies.drain();
      await this.settlement.drain(signal);
    }
  }

  /** Ends everything but what is handed over. */
  async end(): Promise<void> {
    const { shard } = this;
    await this.retention.stop();
    this.replies.close();
    this.settlement.close();
    this.lease.stop();
    shard.commands.off('ready', this.onReady).off('lost', this.onLost);
    shard.offForgotten(this.onForgotten);
    this.patrol.close();
  }

  /**
   * Gives what is left to the other instances, and deregisters.
   * @param mayBeGivenMore Redis may still give entries to a connection of which it does not know that it was lost
   */
  async handOver(mayBeGivenMore: boolean): Promise<void> {
    if (this.shard.commands.isReady) {
      await handOver(this.shard, this.deps.instance, this.streams.all, mayBeGivenMore);
    }
  }

  private async verify(awayFor: number): Promise<void> {
    const { lanes } = this.deps;
    await this.inventory.giveUpLost(awayFor);
    lanes.requests.dropLost();
    lanes.events.dropLost();
  }

  private goOn(): void {
    this.replies.resume();
    this.settlement.resume();
    this.deps.onHeld();
  }

  private readonly onReady = (): void => {
    this.lease.restore();
    this.goOn();
    this.patrol.lookAgain();
  };

  private readonly onLost = (): void => this.lease.unsettle();

  private readonly onForgotten = (): void => this.lease.restore();
}
