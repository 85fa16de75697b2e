import { ConnectError, ConnectionClosedError } from '../errors.js';
import type { BlockingReader } from '../redis/blocking-reader.js';
import type { Log } from '../redis/log.js';
import type { Namespace } from '../redis/namespace.js';
import { messageOf } from '../redis/redis-errors.js';
import type { Shard } from '../redis/shard.js';
import { settledWithin } from '../util/time.js';
import { Broadcasts } from './broadcast/broadcasts.js';
import { ControlReader, type ControlSide } from './control-reader.js';
import type { Lanes } from './dispatcher.js';
import { Intake } from './intake.js';
import { Lane } from './lane.js';
import { LoneRunner } from './lone-runner.js';
import { Reporter } from './reporter.js';
import { ShardWorker, type InstanceParts } from './shard-worker.js';
import { TopicWatch } from './topic-watch.js';

/** How long `stop()` waits, after the handlers, for Redis to confirm their replies, and to take what is handed over. */
const FLUSH_WITHIN_MS = 2_000;

/** How many messages a log line names. */
const MAX_NAMED = 5;

/** What a worker is made from. */
export interface WorkerDeps extends Omit<InstanceParts, 'reporter' | 'lanes' | 'loneRunner'> {
  namespace: Namespace;
  log: Log;
}

/**
 * One instance of a service, from its registration to its end: what it does in each shard, the lanes in which messages
 * of all shards are handled, and what reads the shards.
 */
export class Worker {
  private readonly reporter: Reporter;
  private readonly lanes: Lanes;
  private readonly loneRunner: LoneRunner;
  private readonly shards: readonly ShardWorker[];
  private readonly broadcasts: Broadcasts | undefined;
  private readonly watches: readonly TopicWatch[];
  private readonly intakes: readonly Intake[];
  private readonly controls: readonly ControlReader[];
  private readonly readers: readonly BlockingReader[];

  constructor(private readonly deps: WorkerDeps) {
    const { namespace, instance, handlers, log, options } = deps;
    this.reporter = new Reporter(namespace.hooks, instance, log);
    const { reporter } = this;
    const onRoom = (): void => this.onRoom();
    this.lanes = {
      requests: new Lane(options.concurrency, onRoom),
      events: new Lane(options.eventConcurrency, onRoom),
    };
    this.loneRunner = new LoneRunner({
      reporter,
      ttl: options.lease,
      quiesce: (withinMs) => this.quiesce(withinMs),
      resume: () => this.resume(),
      onFree: onRoom,
    });
    const { lanes, loneRunner } = this;
    const count = namespace.shards.length;
    const workers = new Map<Shard, ShardWorker>();
    for (const shard of namespace.shards) {
      const worker: ShardWorker = new ShardWorker({
        ...deps,
        shard,
        reporter,
        lanes,
        loneRunner,
        wanted: handlers.subscriptionsIn(shard.index, count),
        maxWaitingRetries: Math.ceil(options.maxWaitingRetries / count),
        readingFor: (stream) => intakeOf.get(worker)?.readingFor(stream),
        onHeld: onRoom,
        onTopics: () => intakeOf.get(worker)?.onTopics(),
      });
      workers.set(shard, worker);
    }
    this.shards = [...workers.values()];
    const groups = namespace.readableTogether.map((shards) => shards.map((shard) => workers.get(shard)!));
    this.intakes = groups.map(
      (workersOfOne) =>
        new Intake({
          instance,
          lanes,
          log,
          workers: workersOfOne,
          mayGetTopics: workersOfOne.some(({ wildcards }) => wildcards.length > 0),
        }),
    );
    const intakeOf = new Map(this.intakes.flatMap((intake, i) => groups[i]!.map((one) => [one, intake])));
    if (handlers.hasBroadcasts) {
      const onRead = (shard: Shard, pattern: string): void => workers.get(shard)!.readAsBroadcast(pattern);
      this.broadcasts = new Broadcasts({ ...deps, reporter, onRead });
    }
    const watchOf = new Map(
      this.shards.map((worker) => {
        const broadcasts = this.broadcasts?.in(worker.shard);
        const listeners = broadcasts ? [worker, broadcasts] : [worker];
        return [worker, new TopicWatch(worker.shard, listeners, reporter)];
      }),
    );
    this.watches = [...watchOf.values()];
    this.controls = groups.map(
      (some) =>
        new ControlReader(
          some.map((worker) => controlSide(worker, watchOf.get(worker)!)),
          reporter,
        ),
    );
    this.readers = [
      ...this.takingReaders,
      ...this.controls.map(({ reader }) => reader),
      ...(this.broadcasts?.readers ?? []),
    ];
  }

  /** The id of this instance, and its consumer's name. */
  get instance(): string {
    return this.deps.instance.id;
  }

  /** Resolves when the first reads have been written. */
  async start(): Promise<void> {
    const { connectTimeout } = this.deps.options;
    await Promise.all(this.controls.map((control) => control.begin()));
    await Promise.all(this.shards.map((shard) => shard.register()));
    await this.broadcasts?.begin();
    await Promise.all(this.watches.map((watch) => watch.start()));
    this.broadcasts?.begun();
    const reading = Promise.all(this.readers.map((reader) => reader.start()));
    if (!(await settledWithin(reading, connectTimeout))) {
      throw new ConnectError(`The connections for reading did not open within ${connectTimeout} ms.`);
    }
    this.shards.forEach((shard) => shard.begin());
  }

  /**
   * Stops reading, waits for handlers, then takes from those that still run the right to settle, waits for Redis to
   * confirm the rest, and hands over what is left. Everything is bounded, with a dead Redis too.
   */
  async stop(handlersWithin: number): Promise<void> {
    const { shards } = this;
    try {
      this.watches.forEach((watch) => watch.close());
      this.broadcasts?.hold();
      const alone = this.loneRunner.close();
      const held = Promise.all(shards.map((shard) => shard.hold()));
      await Promise.all(this.intakes.map((intake) => intake.stop()));
      await this.waitForHandlers(Promise.all([held, alone]), handlersWithin);
      // Until now they may have brought cancellations.
      this.controls.forEach((control) => control.close());
      const reason = new ConnectionClosedError(
        'The server is closing and has waited for its handlers long enough.',
      );
      this.lanes.requests.clear();
      this.lanes.events.clear();
      this.broadcasts?.revoke(reason);
      shards.forEach((shard) => shard.revoke(reason));
      await settledWithin(Promise.all(this.reachable.map((shard) => shard.flush())), FLUSH_WITHIN_MS);
    } finally {
      await Promise.all(shards.map((shard) => shard.end()));
    }
    await settledWithin(this.handOver(), FLUSH_WITHIN_MS);
    this.reporter.close();
  }

  /** Those whose Redis is there: where it is not, nothing can be settled, and others must not wait for it. */
  private get reachable(): readonly ShardWorker[] {
    return this.shards.filter(({ shard }) => shard.commands.isReady);
  }

  /** Those that bring messages. */
  private get takingReaders(): BlockingReader[] {
    return this.intakes.flatMap(({ readers }) => readers);
  }

  private async waitForHandlers(taken: Promise<unknown>, withinMs: number): Promise<void> {
    const { log } = this.deps;
    const running = this.describeRunning().length;
    if (running > 0) {
      log.log(`Closing: waiting up to ${withinMs} ms for ${running} messages that are being handled`);
    }
    const idle = taken.then(() => Promise.all([this.whenIdle(), this.broadcasts?.whenIdle()]));
    if (!(await settledWithin(idle, withinMs))) {
      const left = this.describeRunning();
      log.warn(
        `Closing: ${left.length} messages were still being handled after ${withinMs} ms and are handed over: ` +
          `${left.slice(0, MAX_NAMED).join(', ')}${left.length > MAX_NAMED ? ', …' : ''}. ` +
          `Raise 'shutdownTimeout' if handlers need longer.`,
      );
    }
  }

  private describeRunning(): string[] {
    const taken = this.shards.flatMap(({ dispatcher }) => dispatcher.describeRunning());
    return this.broadcasts ? [...taken, ...this.broadcasts.describeRunning()] : taken;
  }

  private async handOver(): Promise<void> {
    const mayBeGivenMore = this.readers.some((reader) => reader.mayBlockUnseen);
    await Promise.all(
      this.shards.map((shard) =>
        shard
          .handOver(mayBeGivenMore)
          .catch((error: unknown) =>
            this.deps.log.warn(
              `What was not settled could not be handed over (${messageOf(error)}); others take it over when the lease has run out`,
            ),
          ),
      ),
    );
  }

  /** Resolves when nothing that was taken runs or waits to run. */
  private async whenIdle(): Promise<void> {
    const { requests, events } = this.lanes;
    while (!requests.isIdle || !events.isIdle) {
      await Promise.all([requests.whenIdle(), events.whenIdle()]);
    }
  }

  /** A slot is free, or more. */
  private onRoom(): void {
    for (const shard of this.shards) {
      shard.onRoom();
    }
  }

  /** Stops starting and reading anything; resolves to whether all that was taken is settled within the time. */
  private async quiesce(withinMs: number): Promise<boolean> {
    this.intakes.forEach((intake) => intake.pause());
    this.lanes.requests.pause();
    this.lanes.events.pause();
    const givenUp = new AbortController();
    try {
      const quiet = this.whenIdle().then(() =>
        Promise.all(this.reachable.map((shard) => shard.flush(givenUp.signal))),
      );
      return await settledWithin(quiet, withinMs);
    } finally {
      givenUp.abort();
    }
  }

  private resume(): void {
    this.intakes.forEach((intake) => intake.resume());
    this.lanes.requests.resume();
    this.lanes.events.resume();
    this.onRoom();
  }
}

/** What a shard is told by its control stream, and by the news of topics. */
function controlSide(worker: ShardWorker, watch: TopicWatch): ControlSide {
  const { shard, cancellations, dispatcher } = worker;
  return {
    shard,
    topics: watch.isNeeded ? watch : undefined,
    listener: {
      cancelled: (requestId) => {
        cancellations.add(requestId);
        dispatcher.requests.cancel(requestId);
      },
      orphaned: (stream) => worker.noticeOrphans(stream),
    },
  };
}
