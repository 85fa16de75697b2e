import { Controller } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';
import { ORDER_CREATED, type Order } from '../contracts.js';
import { tellHandled } from '../support/service-process.js';

@Controller()
export class NotificationsController {
  @EventPattern(ORDER_CREATED)
  notify(@Payload() order: Order): void {
    tellHandled(order.id);
  }
}
