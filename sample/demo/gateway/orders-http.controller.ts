import { BadGatewayException, Body, Controller, Post } from '@nestjs/common';
import type { ClientProxy } from '@nestjs/microservices';
import { InjectRedisStreamsClient } from 'nestjs-redis-streams';
import { catchError, type Observable } from 'rxjs';
import { messageOf } from '../../support/message-of.js';
import { CREATE_ORDER, type NewOrder, type Order } from '../contracts.js';

export const ORDERS = 'ORDERS';

@Controller('orders')
export class OrdersHttpController {
  constructor(@InjectRedisStreamsClient(ORDERS) private readonly orders: ClientProxy) {}

  @Post()
  create(@Body() order: NewOrder): Observable<Order> {
    return this.orders.send<Order>(CREATE_ORDER, order).pipe(
      catchError((error: unknown) => {
        throw new BadGatewayException(messageOf(error));
      }),
    );
  }
}
