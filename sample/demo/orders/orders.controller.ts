import { randomUUID } from 'node:crypto';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload, type ClientProxy } from '@nestjs/microservices';
import { InjectRedisStreamsClient, RedisStreamsContext } from 'nestjs-redis-streams';
import { lastValueFrom } from 'rxjs';
import { CREATE_ORDER, ORDER_CREATED, type NewOrder, type Order } from '../contracts.js';
import { tellOf } from '../support/service-process.js';

export const EVENTS = 'EVENTS';

@Controller()
export class OrdersController {
  constructor(@InjectRedisStreamsClient(EVENTS) private readonly events: ClientProxy) {}

  /** Answers once Redis has stored the event: who has an answer can rely on the event. */
  @MessagePattern(CREATE_ORDER)
  async create(@Payload() order: NewOrder, @Ctx() { instance }: RedisStreamsContext): Promise<Order> {
    const created = { ...order, id: randomUUID(), total: order.quantity * order.price, instance };
    await lastValueFrom(this.events.emit(ORDER_CREATED, created), { defaultValue: undefined });
    tellOf(created.id);
    return created;
  }
}
