import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, Payload } from '@nestjs/microservices';
import { DeadLetter, RedisStreamsContext } from 'nestjs-redis-streams';
import { Subject } from 'rxjs';
import { ORDER_CREATED, type Order } from '../order.js';
import { TaxRates } from './tax-rates.js';

@Controller()
export class BillingController {
  /** The ids of orders, as they are billed. */
  readonly billed = new Subject<string>();

  constructor(private readonly rates: TaxRates) {}

  // <string>: without it Nest 12 types the second parameter of an event handler as unknown.
  @EventPattern<string>(ORDER_CREATED)
  bill(@Payload() order: Order, @Ctx() context: RedisStreamsContext): void {
    console.log(`Order ${order.id}, delivery ${context.deliveryCount}`);
    if (order.total === undefined) {
      // However often it is delivered: there is nothing to bill.
      throw new DeadLetter('An order without a total');
    }
    const tax = order.total * this.rates.of(order.country);
    console.log(`Order ${order.id} is billed: ${order.total + tax}`);
    this.billed.next(order.id);
  }
}
