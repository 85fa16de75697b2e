import { setTimeout as pause } from 'node:timers/promises';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload, type ClientProxy } from '@nestjs/microservices';
import { InjectRedisStreamsClient, RedisStreamsContext } from 'nestjs-redis-streams';
import { lastValueFrom } from 'rxjs';
import { CREATE_ORDER, ORDER_CREATED, type NewOrder, type Order } from '../contracts.js';
import { tell } from '../support/service-process.js';

export const EVENTS = 'EVENTS';

/** Stands for what an order takes elsewhere. An instance that is killed has some under way. */
const WORK_MS = 20;

@Controller()
export class OrdersController {
  constructor(@InjectRedisStreamsClient(EVENTS) private readonly events: ClientProxy) {}

  /**
   * Answers once Redis has stored the event: who has an answer can rely on the event. A request is delivered again when
   * its instance has died, so the order has the request's id: made twice, it is the same order.
   */
  @MessagePattern(CREATE_ORDER)
  async create(@Payload() order: NewOrder, @Ctx() context: RedisStreamsContext): Promise<Order> {
    tell({ kind: 'begun' });
    const { requestId, instance, deliveryCount: deliveries } = context;
    const created = { ...order, id: requestId!, total: order.quantity * order.price, instance, deliveries };
    await pause(WORK_MS);
    await lastValueFrom(this.events.emit(ORDER_CREATED, created), { defaultValue: undefined });
    // At once, and before it is answered: who is killed cannot tell any more.
    tell({ kind: 'published', id: created.id, deliveries });
    return created;
  }
}
