import { subscriptionField } from '../../redis/replies.js';
import type { Shard } from '../../redis/shard.js';
import { subscribe } from '../../redis/scripts/subscribe.js';
import type { ShardSubscriptions, Subscribed } from '../handlers.js';

/** How often it is written anew that the subscriptions are alive. */
export const RENEW_EVERY_MS = 60_000;

/** A service that may be forgotten sooner renews as often as this within that time. */
const RENEWALS_BEFORE_FORGOTTEN = 3;

/** What subscriptions are made from. */
export interface SubscriptionsOptions {
  shard: Shard;
  service: string;
  /** What the service subscribes to in the shard. */
  wanted: ShardSubscriptions;
  /** Milliseconds after the last renewal for which they count. */
  forgetAfter: number;
  /** They had been written before, and were gone: Redis has lost them, and perhaps more. Its end is waited for. */
  onVanished: () => Promise<void>;
  /** A renewal on the timer failed; the next one is a new attempt. */
  onFailure: (error: unknown) => void;
}

/**
 * Says in Redis which events this service wants, so that none is removed before it has settled it: also while it is
 * down, and before its consumer group exists. All instances of a service write the same fields.
 */
export class Subscriptions {
  private readonly fields: readonly string[];
  private timer: NodeJS.Timeout | undefined;
  private areWritten = false;

  constructor(private readonly options: SubscriptionsOptions) {
    const { service, wanted } = options;
    const fieldsOf = ({ topics, wildcards }: Subscribed, isBroadcast: boolean): string[] =>
      [...topics, ...wildcards].map((pattern) => subscriptionField(service, pattern, isBroadcast));
    this.fields = [...fieldsOf(wanted.durable, false), ...fieldsOf(wanted.broadcast, true)];
  }

  /** Whether there is anything to say. */
  get isEmpty(): boolean {
    return this.fields.length === 0;
  }

  /** Writes them for the first time, and then renews them on a timer. Rejects when the first write fails. */
  async start(): Promise<void> {
    await this.renew();
    if (!this.isEmpty) {
      const every = Math.min(RENEW_EVERY_MS, this.options.forgetAfter / RENEWALS_BEFORE_FORGOTTEN);
      this.timer ??= setInterval(this.onTimer, every).unref();
    }
  }

  /** Writes them now. Rejects when Redis does not confirm it. */
  async renew(): Promise<void> {
    const { shard, forgetAfter } = this.options;
    if (!this.isEmpty) {
      const { client } = shard.commands;
      const added = await subscribe(client, shard.keys.subscriptions, this.fields, forgetAfter);
      const haveVanished = this.areWritten && added > 0;
      this.areWritten = true;
      if (haveVanished) {
        await this.options.onVanished();
      }
    }
  }

  /** Writes no more. What was written stays: a service that is down is still subscribed. */
  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private readonly onTimer = (): void => {
    if (this.options.shard.commands.isReady) {
      this.renew().catch(this.options.onFailure);
    }
  };
}
