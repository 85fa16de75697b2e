import type { MessageHandler } from '@nestjs/microservices';
import type { RetryOptions } from '../options.js';

/** An event handler, and how often it is called for an event. */
export interface EventHandler {
  handle: MessageHandler;
  retry: Required<RetryOptions>;
  /** It is a message handler, called for a request that nobody waits for: it knows nothing of acknowledging. */
  isForRequests?: boolean;
}

/**
 * Finds handlers by route. Event handlers are kept in a list each, with a result of its own: Nest's way of chaining
 * them (`next`, joined by forkJoin) ends as soon as one completes without a value and cancels the others, and drops
 * events whose pattern has a message handler too.
 */
export class Handlers {
  /** Whether there are event handlers for topics that may come while an instance runs. */
  readonly mayGetTopics: boolean = false;
  private readonly requests = new Map<string, MessageHandler>();
  private readonly events = new Map<string, EventHandler[]>();

  /** @returns whether a handler was replaced: the last one registered wins, as everywhere in Nest */
  addRequest(route: string, handler: MessageHandler): boolean {
    const isReplaced = this.requests.has(route);
    this.requests.set(route, handler);
    return isReplaced;
  }

  /** One more handler of an event: all of them are called. */
  addEvent(route: string, handler: EventHandler): void {
    const handlers = this.events.get(route);
    if (handlers) {
      handlers.push(handler);
    } else {
      this.events.set(route, [handler]);
    }
  }

  request(route: string): MessageHandler | undefined {
    return this.requests.get(route);
  }

  event(route: string): readonly EventHandler[] | undefined {
    return this.events.get(route);
  }

  /** How many patterns have a message handler. */
  get requestCount(): number {
    return this.requests.size;
  }

  /** All patterns that have an event handler. */
  get eventRoutes(): string[] {
    return [...this.events.keys()];
  }
}
