import type { Deserializer, MessageHandler } from '@nestjs/microservices';
import { DeliveriesExhaustedError } from '../errors.js';
import type { ResolvedServerOptions } from '../options.js';
import type { Shard } from '../redis/shard.js';
import { messageOf } from '../redis/redis-errors.js';
import type { StreamBatch, StreamEntry } from '../redis/replies.js';
import { describeError } from '../util/describe-error.js';
import type { Cancellations } from './cancellations.js';
import type { Instance } from './context.js';
import type { DeadLetterWriter } from './dead-letter-writer.js';
import { isRequest, openDelivery, type Delivery, type DeliveryHistory } from './delivery.js';
import { EventRunner } from './event-runner.js';
import type { EventHandler, Handlers } from './handlers.js';
import type { Holdings } from './holdings.js';
import { Lane, type Start } from './lane.js';
import { PayloadDecoder } from './payload-decoder.js';
import { Pipeline, type WithHooks } from './pipeline.js';
import type { ReplyWriter } from './reply-writer.js';
import type { Reporter } from './reporter.js';
import type { Doom } from './request-execution.js';
import { RequestRunner } from './request-runner.js';
import type { RetryQueue } from './retry-queue.js';
import type { Settlement } from './settlement.js';

/** What a dispatcher is made from. */
export interface DispatcherDeps {
  shard: Shard;
  options: ResolvedServerOptions;
  instance: Instance & { random: string };
  handlers: Handlers;
  holdings: Holdings<Delivery>;
  settlement: Settlement;
  replies: ReplyWriter;
  retries: RetryQueue;
  deadLetters: DeadLetterWriter;
  cancellations: Cancellations;
  reporter: Reporter;
  /** Nest's default or the user's: makes a packet of what another side's serializer made. */
  deserializer: Deserializer;
  /** The route of a pattern that is not one yet. */
  normalize: (pattern: string) => string;
  /** What runs a message's work inside Nest's processing hooks; `undefined` where there are none. */
  hooks: () => WithHooks | undefined;
  /** Those of the instance, which all its shards share. */
  lanes: Lanes;
}

/** Where messages are handled: requests and events apart, so that events never keep requests from being handled. */
export interface Lanes {
  readonly requests: Lane;
  readonly events: Lane;
}

/** Takes every entry of a shard that this instance is given, however it came, to whoever handles it. */
export class Dispatcher {
  readonly requests: RequestRunner;
  private readonly events: EventRunner;
  private readonly inbox: string;
  private isClosed = false;

  constructor(private readonly deps: DispatcherDeps) {
    const { options, shard, instance, reporter, replies, settlement, retries, deadLetters } = deps;
    const { clock } = shard;
    this.inbox = shard.keys.inbox(instance.service);
    const decoder = new PayloadDecoder(options.codec, deps.deserializer, options.deserializer !== undefined);
    const pipeline = new Pipeline(decoder, shard, instance, deps.hooks);
    const { acknowledge } = options;
    const shared = { pipeline, settlement, deadLetters, reporter, acknowledge };
    const onTeardownError = this.onTeardownError;
    this.requests = new RequestRunner({
      ...shared,
      cancellations: deps.cancellations,
      handlerOf: (pattern) => this.requestHandler(pattern),
      execution: {
        clock,
        onTeardownError,
        responder: {
          replies,
          serializer: options.serializer,
          maxPayloadBytes: options.maxPayloadBytes,
          maxReplyBacklog: options.maxReplyBacklog,
          instance: instance.random,
          onUnwritable: this.onUnwritable,
        },
      },
    });
    this.events = new EventRunner({
      ...shared,
      clock,
      retries,
      onTeardownError,
      handlersOf: (delivery) => this.eventHandlers(delivery),
      names: (pattern) => deps.handlers.names(pattern) || deps.handlers.request(pattern) !== undefined,
    });
  }

  /** Takes what a read has brought. */
  takeBatches(batches: StreamBatch[]): void {
    for (const { stream, entries } of batches) {
      const lane = this.laneOf(stream);
      // The same text as everywhere else: what is compared for every entry is then the same object.
      const known = lane === this.deps.lanes.requests ? this.inbox : stream;
      for (const entry of entries) {
        const delivery = this.open(known, entry);
        if (delivery) {
          lane.push(delivery, this.start);
        }
      }
    }
  }

  /** Takes an entry, unless it is held already, and starts it when there is a slot. */
  accept(stream: string, entry: StreamEntry, history?: DeliveryHistory): void {
    const delivery = this.open(stream, entry, history);
    if (delivery) {
      this.laneOf(stream).push(delivery, this.start);
    }
  }

  /** Takes an entry without starting it. @returns `undefined` where it is held already, or was deleted */
  open(stream: string, { id, fields }: StreamEntry, history?: DeliveryHistory): Delivery | undefined {
    const { holdings, reporter } = this.deps;
    if (!fields) {
      this.lost(stream, [id]);
      return undefined;
    }
    const delivery = openDelivery(stream, id, fields, stream === this.inbox, history);
    if (!holdings.add(delivery)) {
      return undefined;
    }
    reporter.note(history?.isTakenOver ? 'takenOver' : 'read', delivery);
    return delivery;
  }

  /** Starts a message now, whatever else runs; resolves when it has ended. */
  async run(delivery: Delivery): Promise<void> {
    const lane = new Lane(1, () => undefined);
    lane.push(delivery, this.start);
    await lane.whenIdle();
  }

  /** Whether the message has killed as many instances as it may: it is not to be run again. */
  isExhausted(delivery: Delivery): boolean {
    if (!delivery.isSuspect || delivery.fault) {
      return false;
    }
    const { retry } = this.deps.options;
    const limits = this.eventHandlers(delivery).map((handler) => handler.retry.maxDeliveries);
    const isRequest = delivery.entry.reply !== undefined || limits.length === 0;
    return delivery.deliveries > (isRequest ? retry.maxDeliveries : Math.max(...limits));
  }

  /** Acknowledges entries that somebody has deleted before they were handled. */
  lost(stream: string, ids: readonly string[]): void {
    const { reporter, settlement } = this.deps;
    settlement.forget(stream, ids);
    reporter.hooks.report('entriesLost', { stream, count: ids.length, reason: 'deleted' });
    reporter.warnings.report(
      'Deleted entries',
      `${ids.length} entries of '${stream}' were deleted before they were handled`,
    );
  }

  laneOf(stream: string): Lane {
    const { lanes } = this.deps;
    return this.isInbox(stream) ? lanes.requests : lanes.events;
  }

  /** Whether a stream is the service's inbox, and not a topic. */
  isInbox(stream: string): boolean {
    return stream === this.inbox;
  }

  /** What is being handled, for a person: `'pattern' (entry id)`. */
  describeRunning(): string[] {
    return [...this.requests.executions, ...this.events.executions].map(
      ({ delivery }) => `'${delivery.entry.pattern}' (entry ${delivery.id})`,
    );
  }

  /** Ends what still runs, without a result, and starts nothing more: it stays pending. */
  revokeRunning(reason: Error): void {
    this.isClosed = true;
    for (const execution of [...this.requests.executions, ...this.events.executions]) {
      execution.revoke(reason);
    }
  }

  private readonly start: Start = (delivery, lane) => {
    if (delivery.isLost || this.isClosed) {
      // Taken over by another meanwhile, or to be handed over.
      lane.release();
    } else if (delivery.fault) {
      this.refuse(delivery, { reason: 'malformed', error: delivery.fault }, lane);
    } else if (this.isExhausted(delivery)) {
      // The delivery that its count was raised for does not take place.
      delivery.deliveries--;
      const error = new DeliveriesExhaustedError(delivery.entry.pattern, delivery.deliveries);
      this.refuse(delivery, { reason: 'exhausted', error }, lane);
    } else if (this.deps.options.acknowledge === 'on-receipt') {
      void this.startOnReceipt(delivery, lane);
    } else {
      this.handle(delivery, lane);
    }
  };

  private async startOnReceipt(delivery: Delivery, lane: Lane): Promise<void> {
    if (await this.deps.settlement.acknowledgeOnReceipt(delivery)) {
      this.handle(delivery, lane);
    } else {
      lane.release();
    }
  }

  private handle(delivery: Delivery, lane: Lane): void {
    if (isRequest(delivery)) {
      this.requests.start(delivery, lane);
    } else {
      this.events.start(delivery, lane);
    }
  }

  /** What cannot be handled: whoever waits for an answer gets the error, and then it is a dead letter. */
  private refuse(delivery: Delivery, doom: Doom, lane: Lane): void {
    if (isRequest(delivery)) {
      this.requests.refuse(delivery, doom, lane);
      return;
    }
    void this.deps.deadLetters.add(delivery, doom.reason, doom.error).then(() => lane.release());
  }

  /** Patterns from our clients are routes. Another language's may spell an object's keys in another order. */
  private requestHandler(pattern: string): MessageHandler | undefined {
    return (
      this.deps.handlers.request(pattern) ??
      (isJsonObject(pattern) ? this.deps.handlers.request(this.deps.normalize(pattern)) : undefined)
    );
  }

  /** An entry of the inbox that nobody waits for is an event for this service alone, or a request that is replayed. */
  private eventHandlers({ entry, isInbox }: Delivery): readonly EventHandler[] {
    const request = isInbox ? this.requestHandler(entry.pattern) : undefined;
    const asEvent = request && [{ handle: request, retry: this.deps.options.retry, isForRequests: true }];
    const handlers = this.deps.handlers.event(entry.pattern);
    return (entry.id === undefined ? (handlers ?? asEvent) : (asEvent ?? handlers)) ?? [];
  }

  private readonly onTeardownError = (error: unknown, { entry }: Delivery): void => {
    this.deps.reporter.errors.report(
      'Failed teardowns',
      `The handler of '${entry.pattern}' failed while it was being stopped: ${describeError(error)}`,
    );
  };

  private readonly onUnwritable = (pattern: string, error: unknown): void => {
    this.deps.reporter.errors.report(
      'Unwritable replies',
      `A reply to '${pattern}' could not be written: ${messageOf(error)}`,
    );
  };
}

function isJsonObject(pattern: string): boolean {
  return pattern.startsWith('{');
}
