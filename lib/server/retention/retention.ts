import type { RedisStreamsHooks } from '../../hooks.js';
import type { Log } from '../../redis/log.js';
import type { NamespaceConnection } from '../../redis/namespace-connection.js';
import { messageOf } from '../../redis/redis-errors.js';
import { BurstLog } from '../../util/burst-log.js';
import { settledWithin } from '../../util/time.js';
import { Janitor } from './janitor.js';
import { Subscribers } from './subscribers.js';
import { Subscriptions } from './subscriptions.js';
import { TopicTrimmer } from './topic-trimmer.js';

/** How long `stop()` waits for the last trimming. */
const LAST_TRIM_WITHIN_MS = 1_000;

/** What retention is made from. */
export interface RetentionOptions {
  namespace: NamespaceConnection;
  service: string;
  /** All event patterns of the service. */
  patterns: readonly string[];
  /** Milliseconds after which a service that was not seen does not hold back events any more. */
  forgetAfter: number;
  hooks: RedisStreamsHooks;
  log: Log;
}

/**
 * How long events are kept: until every service that subscribes to them has settled them. It says in Redis what this
 * service subscribes to, trims its topics after acknowledgements, and cleans up behind services that are gone.
 */
export class Retention {
  private readonly subscriptions: Subscriptions;
  private readonly trimmer: TopicTrimmer;
  private readonly janitor: Janitor;
  private readonly warnings: BurstLog;
  private readonly patternOf: ReadonlyMap<string, string>;

  constructor(private readonly options: RetentionOptions) {
    const { namespace, patterns, log } = options;
    this.warnings = new BurstLog((line) => log.warn(line));
    this.patternOf = new Map(patterns.map((pattern) => [namespace.keys.topic(pattern), pattern]));
    const subscribers = new Subscribers(namespace);
    this.subscriptions = new Subscriptions({ ...options, onFailure: this.onRenewalFailure });
    this.trimmer = new TopicTrimmer({
      ...options,
      subscriptions: this.subscriptions,
      subscribers,
      onFailure: (error) =>
        this.warnings.report('Trimming', `Topics could not be trimmed: ${messageOf(error)}; trying again`),
    });
    this.janitor = new Janitor({
      ...options,
      subscriptions: this.subscriptions,
      subscribers,
      onCleaned: this.touchAll,
      onFailure: (error) =>
        this.warnings.report('Cleaning up', `What is not needed was not removed: ${messageOf(error)}`),
    });
  }

  /** Writes the subscriptions: before the groups are made, so that nobody trims what they are to begin with. */
  async start(): Promise<void> {
    const { namespace } = this.options;
    await this.subscriptions.start();
    namespace.commands.on('ready', this.onReady);
    namespace.onForgotten(this.onForgotten);
    this.janitor.start();
    // An instance that died may have acknowledged the last events without trimming them.
    this.touchAll();
  }

  /** Redis has confirmed an acknowledgement on this stream, or that an entry of it is a dead letter. Costs next to nothing. */
  acknowledged(stream: string): void {
    const pattern = this.patternOf.get(stream);
    if (pattern !== undefined) {
      this.trimmer.touch(pattern);
    }
  }

  /** Writes the subscriptions again: what Redis knew of them may be gone. Rejects when Redis does not confirm it. */
  renew(): Promise<void> {
    return this.subscriptions.renew();
  }

  /** Trims a last time. The service stays subscribed. */
  async stop(): Promise<void> {
    const { namespace } = this.options;
    namespace.commands.off('ready', this.onReady);
    namespace.offForgotten(this.onForgotten);
    this.subscriptions.stop();
    const lastWork = Promise.all([this.janitor.stop(), this.trimmer.trimNow()]);
    if (namespace.commands.isReady) {
      await settledWithin(lastWork, LAST_TRIM_WITHIN_MS);
    }
    this.trimmer.close();
    this.warnings.close();
  }

  private readonly touchAll = (): void => {
    for (const pattern of this.patternOf.values()) {
      this.trimmer.touch(pattern);
    }
  };

  private readonly onReady = (): void => {
    this.onForgotten();
    this.trimmer.resume();
  };

  private readonly onForgotten = (): void => {
    this.subscriptions.renew().catch(this.onRenewalFailure);
  };

  private readonly onRenewalFailure = (error: unknown): void =>
    this.warnings.report(
      'Renewing subscriptions',
      `The subscriptions of this service could not be renewed: ${messageOf(error)}`,
    );
}
