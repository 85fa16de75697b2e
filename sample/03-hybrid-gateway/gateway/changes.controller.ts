import { Controller } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';
import { ReplaySubject, type Observable } from 'rxjs';
import { PRICE_CHANGED, type Price } from '../contracts.js';

@Controller()
export class ChangesController {
  private readonly latest = new ReplaySubject<Price>(1);

  /** The latest change of a price, and what is still to come. */
  get changes(): Observable<Price> {
    return this.latest;
  }

  @EventPattern(PRICE_CHANGED)
  onPriceChanged(@Payload() price: Price): void {
    this.latest.next(price);
  }
}
