import { messageOf } from '../../support/message-of.js';
import type { NewOrder, Order } from '../contracts.js';
import type { Report } from './service.js';
import { Takeover } from './takeover.js';

/** Everything that has happened to the orders of a run, as its three witnesses tell it: HTTP, orders, notifications. */
export class Ledger {
  readonly answers = new Map<string, Order>();
  readonly latencies: number[] = [];
  readonly errors: string[] = [];
  /** Resolves once half of the requests have ended. */
  readonly halfway: Promise<void>;
  /**
   * Resolves once all requests have ended, as many events as answers have been published and handled, and whatever a
   * killed instance had under way was done by another.
   */
  readonly complete: Promise<void>;
  private readonly published = new Set<string>();
  private readonly handled = new Map<string, number>();
  private resolveHalfway!: () => void;
  private resolveComplete!: () => void;
  private killed: Takeover | undefined;

  constructor(readonly requests: number) {
    this.halfway = new Promise((resolve) => (this.resolveHalfway = resolve));
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
      this.killed?.onDone(order);
    } else {
      this.errors.push(`Wrong answer to ${JSON.stringify(sent)}: ${JSON.stringify(order)}`);
    }
    this.check();
  }

  failed(error: unknown): void {
    this.errors.push(messageOf(error));
    this.check();
  }

  /** An instance is killed now. */
  onKill(name: string): void {
    this.killed = new Takeover(name);
  }

  /** What the services tell. */
  readonly onReport = (report: Report): void => {
    switch (report.kind) {
      case 'published':
        this.published.add(report.id);
        this.killed?.onDone(report);
        break;
      case 'handled':
        report.ids.forEach((id) => this.handled.set(id, (this.handled.get(id) ?? 0) + 1));
        break;
      case 'died':
        this.killed?.onDied(report);
        break;
      case 'begun':
        break;
    }
    this.check();
  };

  /** What became of the messages of the killed instance; `undefined` while none has been killed. */
  get takeover(): Takeover | undefined {
    return this.killed;
  }

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

  /**
   * Whether each request was answered rightly, the event of each answer was published and handled, and what a killed
   * instance had under way was done by another.
   */
  get isRight(): boolean {
    return (
      this.answers.size === this.requests &&
      this.errors.length === 0 &&
      [...this.answers.keys()].every((id) => this.published.has(id) && this.handled.has(id)) &&
      this.isTakenOver
    );
  }

  private get isTakenOver(): boolean {
    return this.killed?.isComplete ?? true;
  }

  private check(): void {
    if (this.ended >= this.requests / 2) {
      this.resolveHalfway();
    }
    if (
      this.ended === this.requests &&
      this.published.size >= this.answers.size &&
      this.handled.size >= this.published.size &&
      this.isTakenOver
    ) {
      this.resolveComplete();
    }
  }
}
