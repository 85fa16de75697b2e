import { Injectable } from '@nestjs/common';
import type { ClientProxy } from '@nestjs/microservices';
import { InjectRedisStreamsClient } from 'nestjs-redis-streams';
import { lastValueFrom } from 'rxjs';
import { ORDER_CREATED, type Order } from '../order.js';

export const EVENTS = 'EVENTS';

@Injectable()
export class ShopService {
  constructor(@InjectRedisStreamsClient(EVENTS) private readonly events: ClientProxy) {}

  /** Resolves once Redis has stored the event; rejects where it could not be stored. */
  async sell(order: Order): Promise<void> {
    await lastValueFrom(this.events.emit(ORDER_CREATED, order), { defaultValue: undefined });
  }
}
