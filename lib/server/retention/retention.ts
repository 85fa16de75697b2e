import type { Shard } from '../../redis/shard.js';
import { messageOf } from '../../redis/redis-errors.js';
import { settledWithin } from '../../util/time.js';
import type { ShardSubscriptions } from '../handlers.js';
import type { Reporter } from '../reporter.js';
import type { Streams } from '../streams.js';
import { Janitor } from './janitor.js';
import { Subscribers } from './subscribers.js';
import { Subscriptions } from './subscriptions.js';
import { TopicTrimmer } from './topic-trimmer.js';

/** How long `stop()` waits for the last trimming. */
const LAST_TRIM_WITHIN_MS = 1_000;

/** What retention is made from. */
export interface RetentionOptions {
  shard: Shard;
  reporter: Reporter;
  /** What the service subscribes to in this shard. */
  wanted: ShardSubscriptions;
  /** What this instance reads. */
  streams: Streams;
  /** Redis has lost the subscriptions, and perhaps more. */
  onVanished: () => Promise<void>;
  /** Milliseconds after which a service that was not seen does not hold back events any more. */
  forgetAfter: number;
}

/**
 * How long events are kept: until every service that subscribes to them has settled them. It says in Redis what this
 * service subscribes to, trims its topics when something of them was settled, and cleans up behind services that are
 * gone.
 */
export class Retention {
  private readonly subscriptions: Subscriptions;
  private readonly trimmer: TopicTrimmer;
  private readonly janitor: Janitor;

  constructor(private readonly options: RetentionOptions) {
    const { shard, reporter } = options;
    const { service } = reporter.instance;
    const subscribers = new Subscribers(shard);
    this.subscriptions = new Subscriptions({ ...options, service, onFailure: this.onRenewalFailure });
    const { subscriptions } = this;
    this.trimmer = new TopicTrimmer({
      shard,
      service,
      subscriptions,
      subscribers,
      onFailure: (error) =>
        reporter.warnings.report(
          'Trimming',
          `Topics could not be trimmed: ${messageOf(error)}; trying again`,
        ),
    });
    this.janitor = new Janitor({
      ...options,
      subscriptions,
      subscribers,
      onCleaned: () => this.settledByOthers(),
      onUnsettled: (topic) => this.trimmer.touch(topic),
    });
  }

  /** Writes the subscriptions, and begins to look after the topics. */
  async start(): Promise<void> {
    const { shard } = this.options;
    await this.subscriptions.start();
    shard.commands.on('ready', this.onReady);
    shard.onForgotten(this.onForgotten);
    this.janitor.start();
    this.settledByOthers();
  }

  /**
   * Redis has confirmed that something of this stream is acknowledged, or a dead letter. Costs next to nothing;
   * streams that are no topics are passed over.
   */
  settled(stream: string): void {
    const pattern = this.options.streams.patternOf(stream);
    if (pattern !== undefined) {
      this.trimmer.touch(pattern);
    }
  }

  /** Something of this topic was read as a broadcast: nobody will settle it, and it may be removed when it is not young. */
  broadcast(topic: string): void {
    this.trimmer.touchLater(topic);
  }

  /** Somebody may have settled the last of any topic and not have trimmed it: an instance that died. */
  settledByOthers(): void {
    const { streams, wanted } = this.options;
    for (const topic of streams.topics) {
      this.settled(topic);
    }
    for (const pattern of wanted.broadcast.topics) {
      this.trimmer.touch(pattern);
    }
  }

  /** Writes the subscriptions again: what Redis knew of them may be gone. Rejects when Redis does not confirm it. */
  renew(): Promise<void> {
    return this.subscriptions.renew();
  }

  /** Trims a last time. The service stays subscribed. */
  async stop(): Promise<void> {
    const { shard } = this.options;
    shard.commands.off('ready', this.onReady);
    shard.offForgotten(this.onForgotten);
    this.subscriptions.stop();
    const lastWork = Promise.all([this.janitor.stop(), this.trimmer.trimNow()]);
    if (shard.commands.isReady) {
      await settledWithin(lastWork, LAST_TRIM_WITHIN_MS);
    }
    this.trimmer.close();
  }

  private readonly onReady = (): void => {
    this.onForgotten();
    this.trimmer.resume();
  };

  private readonly onForgotten = (): void => {
    this.subscriptions.renew().catch(this.onRenewalFailure);
  };

  private readonly onRenewalFailure = (error: unknown): void =>
    this.options.reporter.warnings.report(
      'Renewing subscriptions',
      `The subscriptions of this service could not be renewed: ${messageOf(error)}`,
    );
}
