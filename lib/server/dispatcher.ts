import type { Deserializer, MessageHandler } from '@nestjs/microservices';
import { DeserializationError, MalformedEntryError } from '../errors.js';
import type { ResolvedServerOptions } from '../options.js';
import type { Log } from '../redis/log.js';
import type { NamespaceConnection } from '../redis/namespace-connection.js';
import { messageOf } from '../redis/redis-errors.js';
import type { StreamBatch, StreamEntry } from '../redis/replies.js';
import { BurstLog } from '../util/burst-log.js';
import { describeError } from '../util/describe-error.js';
import { RedisStreamsContext, type Instance } from './context.js';
import { openDelivery, type Delivery } from './delivery.js';
import { Execution } from './execution.js';
import type { Handlers } from './handlers.js';
import { PayloadDecoder } from './payload-decoder.js';
import type { ReplyWriter } from './reply-writer.js';
import { RequestExecution, type RequestExecutionDeps, type RequestListener } from './request-execution.js';
import type { Settlement } from './settlement.js';
import { Slots } from './slots.js';
import { isPromise } from '../util/promise.js';

/** What Nest's transports answer to a pattern that has no handler (NO_MESSAGE_HANDLER). */
const NO_HANDLER = 'There is no matching message handler defined in the remote service.';

/** What Nest answers for an error that is not an RpcException. */
const INTERNAL_ERROR = { status: 'error', message: 'Internal server error' };

/** Runs `work` inside Nest's processing hooks; resolves when it has ended. */
export type WithHooks = (context: RedisStreamsContext, work: () => Promise<void>) => Promise<void>;

type Work = (data: unknown, context: RedisStreamsContext) => Promise<void>;

/** What a dispatcher is made from. */
export interface DispatcherDeps {
  namespace: NamespaceConnection;
  options: ResolvedServerOptions;
  instance: Instance & { random: string };
  handlers: Handlers;
  settlement: Settlement;
  replies: ReplyWriter;
  log: Log;
  /** Nest's default or the user's: makes a packet of what another side's serializer made. */
  deserializer: Deserializer;
  /** The route of a pattern that is not one yet. */
  normalize: (pattern: string) => string;
  /** What runs a message's work inside Nest's processing hooks; `undefined` where there are none. */
  hooks: () => WithHooks | undefined;
}

/**
 * Takes an entry from its stream to its handlers, and what comes of it to the responder and the settlement. Every
 * entry takes a slot and gives it back, however it ends: slots of their own for inbox and topics, so that events
 * never keep requests from being handled.
 */
export class Dispatcher implements RequestListener {
  readonly requestSlots: Slots;
  readonly eventSlots: Slots;
  private readonly decoder: PayloadDecoder;
  private readonly executionDeps: RequestExecutionDeps;
  private readonly running = new Set<Execution>();
  /** Events that were read beyond the free slots: COUNT is for each stream of a read. */
  private readonly backlog: Delivery[] = [];
  private readonly failures: BurstLog;

  constructor(private readonly deps: DispatcherDeps) {
    const { options, replies, instance, log } = deps;
    this.requestSlots = new Slots(options.concurrency);
    this.eventSlots = new Slots(options.eventConcurrency);
    this.decoder = new PayloadDecoder(options.codec, deps.deserializer, options.deserializer !== undefined);
    this.executionDeps = {
      clock: deps.namespace.clock,
      onTeardownError: this.onTeardownError,
      responder: {
        replies,
        serializer: options.serializer,
        maxPayloadBytes: options.maxPayloadBytes,
        instance: instance.random,
        clock: deps.namespace.clock,
        onUnwritable: (pattern, error) =>
          this.failures.report(
            'Unwritable replies',
            `A reply to '${pattern}' could not be written: ${messageOf(error)}`,
          ),
      },
      listener: this,
    };
    this.failures = new BurstLog((line) => log.error(line));
  }

  /** Takes entries of the inbox; there are never more than free slots. */
  takeInbox(batches: StreamBatch[]): void {
    for (const { stream, entries } of batches) {
      for (const entry of entries) {
        const delivery = this.open(stream, entry, true);
        if (delivery) {
          this.requestSlots.take();
          this.dispatch(delivery, this.requestSlots);
        }
      }
    }
  }

  /** Takes entries of topics; what exceeds the slots waits in memory. */
  takeTopics(batches: StreamBatch[]): void {
    for (const { stream, entries } of batches) {
      for (const entry of entries) {
        const delivery = this.open(stream, entry, false);
        if (delivery) {
          this.backlog.push(delivery);
        }
      }
    }
    this.startBacklog();
  }

  /** Resolves when topics may be read; `undefined` where they may be now. */
  roomForEvents(): Promise<void> | undefined {
    return this.eventSlots.whenFree();
  }

  /** Resolves when nothing runs or waits to run. */
  async whenIdle(): Promise<void> {
    while (!this.requestSlots.isIdle || !this.eventSlots.isIdle) {
      await Promise.all([this.requestSlots.whenIdle(), this.eventSlots.whenIdle()]);
    }
  }

  /** What is being handled, for a person: `'pattern' (entry id)`. */
  describeRunning(): string[] {
    return [...this.running].map(({ delivery }) => `'${delivery.entry.pattern}' (entry ${delivery.id})`);
  }

  /** Ends what still runs, without a result: it stays pending. */
  revokeRunning(): void {
    this.backlog.length = 0;
    for (const execution of [...this.running]) {
      execution.revoke();
    }
    this.failures.close();
  }

  private startBacklog(): void {
    while (this.backlog.length > 0 && this.eventSlots.free > 0) {
      this.eventSlots.take();
      this.dispatch(this.backlog.shift()!, this.eventSlots);
    }
  }

  /** Before a slot is taken: what cannot be read needs none. */
  private open(stream: string, entry: StreamEntry, isInbox: boolean): Delivery | undefined {
    try {
      return openDelivery(stream, entry, isInbox);
    } catch (error) {
      this.failures.report(
        'Malformed entries',
        `Entry ${entry.id} of '${stream}' stays pending: ${messageOf(error)}`,
      );
      return undefined;
    }
  }

  private dispatch(delivery: Delivery, slots: Slots): void {
    if (this.deps.options.acknowledge === 'on-receipt') {
      void this.startOnReceipt(delivery, slots);
    } else {
      this.start(delivery, slots);
    }
  }

  private async startOnReceipt(delivery: Delivery, slots: Slots): Promise<void> {
    if (await this.deps.settlement.acknowledgeOnReceipt(delivery)) {
      this.start(delivery, slots);
    } else {
      this.release(slots);
    }
  }

  private start(delivery: Delivery, slots: Slots): void {
    const { id, reply } = delivery.entry;
    if (id === undefined || reply === undefined) {
      void this.handleEvent(delivery, slots);
    } else {
      this.startRequest(delivery, { id, reply }, slots);
    }
  }

  private startRequest(delivery: Delivery, request: { id: string; reply: string }, slots: Slots): void {
    const { deadline, entry } = delivery;
    if (deadline !== undefined && this.deps.namespace.clock.now() >= deadline) {
      // Its caller has stopped waiting.
      this.acknowledge(delivery);
      this.release(slots);
      return;
    }
    const codec = this.decoder.codecOf(entry);
    const execution = new RequestExecution(delivery, request, codec, slots, this.executionDeps);
    const handler = this.requestHandler(entry.pattern);
    if (handler) {
      this.handleRequest(execution, handler);
    } else {
      execution.responder.error(NO_HANDLER);
    }
  }

  requestAnswered(slots: Slots): void {
    this.release(slots);
  }

  requestSettled(delivery: Delivery): void {
    this.acknowledge(delivery);
  }

  /** Not where the entry was acknowledged on receipt. */
  private acknowledge(delivery: Delivery): void {
    if (this.deps.options.acknowledge === 'after-handler') {
      this.deps.settlement.acknowledge(delivery);
    }
  }

  private handleRequest(execution: RequestExecution, handler: MessageHandler): void {
    this.run(execution, (data, context) => execution.answer(handler, data, context)).then(
      () => this.ended(execution),
      (error: unknown) => {
        execution.responder.error(this.toRequestError(error, execution.delivery.entry.pattern));
        this.ended(execution);
      },
    );
  }

  private async handleEvent(delivery: Delivery, slots: Slots): Promise<void> {
    const execution = new Execution(delivery, this.deps.namespace.clock, this.onTeardownError);
    try {
      const handlers = this.eventHandlers(delivery);
      await this.run(execution, async (data, context) => {
        const results = await Promise.all(
          handlers.map((handler) => execution.perform(handler, data, context)),
        );
        const failure = results.find((result) => result !== undefined);
        if (failure) {
          throw failure.error;
        }
      });
      if (!execution.isRevoked) {
        this.acknowledge(delivery);
      }
    } catch (error) {
      this.reportFailedEvent(delivery, error);
    } finally {
      this.ended(execution);
      this.release(slots);
    }
  }

  /**
   * Decodes, makes the context, and runs `work` inside Nest's hooks. Rejects with whatever fails. Not an async function,
   * nor are those it calls: each would cost every message a promise or two.
   */
  private run(execution: Execution, work: Work): Promise<void> {
    this.running.add(execution);
    try {
      const data = this.decoder.decode(execution.delivery.entry);
      return isPromise(data)
        ? data.then((decoded) => this.call(execution, decoded, work))
        : this.call(execution, data, work);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  private call(execution: Execution, data: unknown, work: Work): Promise<void> {
    const { instance, namespace, hooks } = this.deps;
    const context = new RedisStreamsContext(execution.delivery, instance, namespace.clock, execution);
    const withHooks = hooks();
    return withHooks ? withHooks(context, () => work(data, context)) : work(data, context);
  }

  private ended(execution: Execution): void {
    execution.end();
    this.running.delete(execution);
  }

  /** Patterns from our clients are routes. Another language's may spell an object's keys in another order. */
  private requestHandler(pattern: string): MessageHandler | undefined {
    return (
      this.deps.handlers.request(pattern) ??
      (isJsonObject(pattern) ? this.deps.handlers.request(this.deps.normalize(pattern)) : undefined)
    );
  }

  private eventHandlers({ entry, isInbox }: Delivery): readonly MessageHandler[] {
    const handlers = this.deps.handlers.event(entry.pattern);
    if (handlers) {
      return handlers;
    }
    const handler = isInbox ? this.requestHandler(entry.pattern) : undefined;
    if (!handler) {
      throw new MalformedEntryError('this service has no handler for it');
    }
    return [handler];
  }

  private toRequestError(error: unknown, pattern: string): unknown {
    if (error instanceof DeserializationError) {
      return error;
    }
    // Nest turns what a handler throws into a reply itself, so this is the failure of a hook, a deserializer or the like.
    this.deps.log.error(`Handling '${pattern}' failed outside of its handler: ${describeError(error)}`);
    return INTERNAL_ERROR;
  }

  private readonly onTeardownError = (error: unknown, { entry }: Delivery): void => {
    this.failures.report(
      'Failed teardowns',
      `The handler of '${entry.pattern}' failed while it was being stopped: ${describeError(error)}`,
    );
  };

  private reportFailedEvent({ entry, stream, id }: Delivery, error: unknown): void {
    const pending =
      this.deps.options.acknowledge === 'after-handler'
        ? 'stays pending'
        : 'is lost, since it was acknowledged on receipt';
    this.failures.report(
      // Patterns that have a handler are few; others come from outside.
      this.deps.handlers.event(entry.pattern) ? `Failed events '${entry.pattern}'` : 'Failed events',
      `Event '${entry.pattern}' (entry ${id} of '${stream}') failed and ${pending}: ${describeError(error)}`,
    );
  }

  private release(slots: Slots): void {
    slots.release();
    if (slots === this.eventSlots) {
      this.startBacklog();
    }
  }
}

function isJsonObject(pattern: string): boolean {
  return pattern.startsWith('{');
}
