import { messageOf } from '../../support/message-of.js';
import type { NewOrder, Order } from '../contracts.js';

/** Everything that has happened to the orders of a run, as its three witnesses tell it: HTTP, orders, notifications. */
export class Ledger {
  readonly answers = new Map<string, Order>();
  readonly latencies: number[] = [];
  readonly errors: string[] = [];
  /** Resolves once all requests have ended and as many events as answers have been published and handled. */
  readonly complete: Promise<void>;
  private readonly published = new Set<string>();
  private readonly handled = new Map<string, number>();
  private resolveComplete!: () => void;

  constructor(readonly requests: number) {
    this.complete = new Promise((resolve) => (this.resolveComplete = resolve));
  }

  /** An answer over HTTP; a wrong one counts as an error. */
  answered(sent: NewOrder, order: Order, ms: number): void {
    const isRight =
      order.customer === sent.customer &&
      order.quantity === sent.quantity &&
      order.total === sent.quantity * sent.price &&
      !this.answers.has(order.id);
    if (isRight) {
      this.answers.set(order.id, order);
      this.latencies.push(ms);
    } else {
      this.errors.push(`Wrong answer to ${JSON.stringify(sent)}: ${JSON.stringify(order)}`);
    }
    this.check();
  }

  failed(error: unknown): void {
    this.errors.push(messageOf(error));
    this.check();
  }

  readonly onPublished = (ids: string[]): void => {
    ids.forEach((id) => this.published.add(id));
    this.check();
  };

  readonly onHandled = (ids: string[]): void => {
    ids.forEach((id) => this.handled.set(id, (this.handled.get(id) ?? 0) + 1));
    this.check();
  };

  /** Requests that have ended, in one way or the other. */
  get ended(): number {
    return this.answers.size + this.errors.length;
  }

  get publishedEvents(): number {
    return this.published.size;
  }

  get handledEvents(): number {
    return this.handled.size;
  }

  get handledTwice(): number {
    return [...this.handled.values()].filter((times) => times > 1).length;
  }

  /** Whether each request was answered rightly, and the event of each answer was published and handled. */
  get isRight(): boolean {
    return (
      this.answers.size === this.requests &&
      this.errors.length === 0 &&
      [...this.answers.keys()].every((id) => this.published.has(id) && this.handled.has(id))
    );
  }

  private check(): void {
    if (
      this.ended === this.requests &&
      this.published.size >= this.answers.size &&
      this.handled.size >= this.published.size
    ) {
      this.resolveComplete();
    }
  }
}
