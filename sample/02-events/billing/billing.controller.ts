import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, Payload } from '@nestjs/microservices';
import { RedisStreamsContext } from 'nestjs-redis-streams';
import { Journal } from '../journal.js';
import { ORDER_CREATED, type Order } from '../order.js';

@Controller()
export class BillingController {
  constructor(private readonly journal: Journal) {}

  // <string>: without it Nest 12 types the second parameter of an event handler as unknown.
  @EventPattern<string>(ORDER_CREATED)
  invoice(@Payload() order: Order, @Ctx() context: RedisStreamsContext): void {
    this.journal.write(context, order);
  }
}
