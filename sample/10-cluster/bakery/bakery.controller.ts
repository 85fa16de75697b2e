import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { ReplaySubject } from 'rxjs';
import { EVENTS, TOTAL, type Order } from '../contracts.js';

@Controller()
export class BakeryController {
  /** The ids of the events this instance has handled. */
  readonly handled = new ReplaySubject<string>();

  @MessagePattern(TOTAL)
  total(@Payload() { price, quantity }: Order): number {
    return price * quantity;
  }

  @EventPattern<typeof EVENTS>(EVENTS)
  record(@Payload() id: string): void {
    this.handled.next(id);
  }
}
