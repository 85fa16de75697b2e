import { Controller } from '@nestjs/common';
import type { ClientProxy } from '@nestjs/microservices';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { InjectRedisStreamsClient } from 'nestjs-redis-streams';
import { lastValueFrom } from 'rxjs';
import { PRICE_CHANGED, PRICE_OF, SET_PRICE, type Price } from '../contracts.js';

export const EVENTS = 'EVENTS';

@Controller()
export class PricesController {
  private readonly prices = new Map([['apple', 30]]);

  constructor(@InjectRedisStreamsClient(EVENTS) private readonly events: ClientProxy) {}

  @MessagePattern(PRICE_OF)
  priceOf(@Payload() article: string): Price {
    const cents = this.prices.get(article);
    if (cents === undefined) {
      throw new RpcException({ status: 404, message: `No price for '${article}'` });
    }
    return { article, cents };
  }

  /** Is answered only when Redis has stored the event, too. */
  @MessagePattern(SET_PRICE)
  async setPrice(@Payload() price: Price): Promise<Price> {
    this.prices.set(price.article, price.cents);
    await lastValueFrom(this.events.emit(PRICE_CHANGED, price), { defaultValue: undefined });
    return price;
  }
}
