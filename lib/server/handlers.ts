import type { MessageHandler } from '@nestjs/microservices';

/**
 * Finds handlers by route. Event handlers are kept in a list each, with a result of its own: Nest's way of chaining
 * them (`next`, joined by forkJoin) ends as soon as one completes without a value and cancels the others, and drops
 * events whose pattern has a message handler too.
 */
export class Handlers {
  private readonly requests = new Map<string, MessageHandler>();
  private readonly events = new Map<string, MessageHandler[]>();

  /** @returns whether a message handler was replaced: the last one registered wins, as everywhere in Nest */
  add(route: string, handler: MessageHandler, isEvent: boolean): boolean {
    if (isEvent) {
      const handlers = this.events.get(route);
      if (handlers) {
        handlers.push(handler);
      } else {
        this.events.set(route, [handler]);
      }
      return false;
    }
    const isReplaced = this.requests.has(route);
    this.requests.set(route, handler);
    return isReplaced;
  }

  request(route: string): MessageHandler | undefined {
    return this.requests.get(route);
  }

  event(route: string): readonly MessageHandler[] | undefined {
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
