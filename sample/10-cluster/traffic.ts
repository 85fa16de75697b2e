import { EVENTS } from './contracts.js';
import type { ShopService } from './shop/shop.service.js';

const EVERY_MS = 5;

/** Customers: each asks for a total, and has an event published. They come until the shop is closed. */
export class Traffic {
  answers = 0;
  wrong = 0;
  /** The ids of the events that Redis has stored. */
  readonly published: string[] = [];
  private readonly customers: Promise<void>[] = [];
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly shop: ShopService) {
    this.timer = setInterval(() => this.customers.push(this.serve(this.customers.length)), EVERY_MS);
  }

  get requests(): number {
    return this.customers.length;
  }

  /** Resolves when everybody has been served; rejects where somebody was not. */
  async stop(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.customers);
  }

  private async serve(n: number): Promise<void> {
    const ask = async (): Promise<void> => {
      const total = await this.shop.total({ price: 3, quantity: n });
      this.answers++;
      this.wrong += total === 3 * n ? 0 : 1;
    };
    const announce = async (): Promise<void> => {
      const id = `event ${n}`;
      await this.shop.announce(EVENTS[n % EVENTS.length]!, id);
      this.published.push(id);
    };
    await Promise.all([ask(), announce()]);
  }
}
