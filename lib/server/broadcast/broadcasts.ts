import type { Deserializer } from '@nestjs/microservices';
import type { ResolvedServerOptions } from '../../options.js';
import type { BlockingReader } from '../../redis/blocking-reader.js';
import type { Namespace } from '../../redis/namespace.js';
import type { Shard } from '../../redis/shard.js';
import type { Instance } from '../context.js';
import type { Handlers } from '../handlers.js';
import { Lane } from '../lane.js';
import { PayloadDecoder } from '../payload-decoder.js';
import { Pipeline, type WithHooks } from '../pipeline.js';
import type { Reporter } from '../reporter.js';
import { BroadcastReader } from './broadcast-reader.js';
import { BroadcastWorker } from './broadcast-worker.js';

/** What the broadcasts of an instance are made from. */
export interface BroadcastsDeps {
  namespace: Namespace;
  options: ResolvedServerOptions;
  handlers: Handlers;
  instance: Instance;
  reporter: Reporter;
  deserializer: Deserializer;
  hooks: () => WithHooks | undefined;
  /** Something of a topic was read. */
  onRead: (shard: Shard, pattern: string) => void;
}

/**
 * Everything an instance does for its broadcast handlers, in all shards. They have slots of their own: what hangs in one
 * keeps no event from being handled that the service is to handle once.
 */
export class Broadcasts {
  private readonly lane: Lane;
  private readonly workers: ReadonlyMap<Shard, BroadcastWorker>;
  private readonly sources: readonly BroadcastReader[];

  constructor(deps: BroadcastsDeps) {
    const { namespace, options, handlers, instance, reporter } = deps;
    const { shards, readableTogether } = namespace;
    this.lane = new Lane(options.eventConcurrency, () => undefined);
    const { lane } = this;
    const decoder = new PayloadDecoder(options.codec, deps.deserializer, options.deserializer !== undefined);
    const readers = new Map<Shard, BroadcastReader>();
    this.workers = new Map(
      shards.map((shard) => [
        shard,
        new BroadcastWorker({
          shard,
          handlers,
          lane,
          reporter,
          pipeline: new Pipeline(decoder, shard, instance, deps.hooks),
          limit: Math.ceil(options.maxWaitingRetries / shards.length),
          wanted: handlers.subscriptionsIn(shard.index, shards.length).broadcast,
          onTopics: () => readers.get(shard)?.onTopics(),
          onRead: (pattern) => deps.onRead(shard, pattern),
        }),
      ]),
    );
    this.sources = readableTogether.map((some) => {
      const workers = some.map((shard) => this.workers.get(shard)!);
      const reader = new BroadcastReader({ lane, log: reporter.log, workers });
      some.forEach((shard) => readers.set(shard, reader));
      return reader;
    });
  }

  get readers(): BlockingReader[] {
    return this.sources.map(({ reader }) => reader);
  }

  /** Those of a shard. */
  in(shard: Shard): BroadcastWorker | undefined {
    return this.workers.get(shard);
  }

  /** Finds where each topic ends now. Once the subscriptions are written, and before the first read. */
  async begin(): Promise<void> {
    await Promise.all([...this.workers.values()].map((worker) => worker.begin()));
  }

  /** All topics that were there are known: those that come from here on are new. */
  begun(): void {
    this.workers.forEach(({ topics }) => topics.begun());
    this.sources.forEach((source) => source.onTopics());
  }

  /** Reads no more, and tries nothing again. What runs goes on. */
  hold(): void {
    this.sources.forEach((source) => source.close());
    this.workers.forEach((worker) => worker.hold());
  }

  /** Ends what still runs, and drops what waits for a slot. */
  revoke(reason: Error): void {
    this.lane.clear();
    this.workers.forEach(({ runner }) => runner.revoke(reason));
  }

  get isIdle(): boolean {
    return this.lane.isIdle;
  }

  /** Resolves when nothing is handled. */
  whenIdle(): Promise<void> {
    return this.lane.whenIdle();
  }

  /** What is being handled, for a person: `'pattern' (entry id)`. */
  describeRunning(): string[] {
    return [...this.workers.values()].flatMap(({ runner }) =>
      [...runner.executions].map(
        ({ delivery }) => `'${delivery.entry.pattern}' (entry ${delivery.id}, broadcast)`,
      ),
    );
  }
}
