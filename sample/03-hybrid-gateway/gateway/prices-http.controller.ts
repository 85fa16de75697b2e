import { Body, Controller, Get, HttpException, Param, ParseIntPipe, Put } from '@nestjs/common';
import type { ClientProxy } from '@nestjs/microservices';
import { InjectRedisStreamsClient } from 'nestjs-redis-streams';
import { catchError, type Observable } from 'rxjs';
import { PRICE_OF, SET_PRICE, type Price } from '../contracts.js';

export const PRICES = 'PRICES';

/** Nest subscribes to what a route returns, so that the answer of the service becomes the answer over HTTP. */
@Controller('prices')
export class PricesHttpController {
  constructor(@InjectRedisStreamsClient(PRICES) private readonly prices: ClientProxy) {}

  @Get(':article')
  priceOf(@Param('article') article: string): Observable<Price> {
    return this.prices.send<Price>(PRICE_OF, article).pipe(catchError(asHttpError));
  }

  @Put(':article')
  setPrice(@Param('article') article: string, @Body('cents', ParseIntPipe) cents: number): Observable<Price> {
    return this.prices.send<Price>(SET_PRICE, { article, cents }).pipe(catchError(asHttpError));
  }
}

/** What the service refused carries a status; a timeout, say, does not, and stays an internal error. */
function asHttpError(error: { status?: unknown; message?: string }): never {
  throw typeof error.status === 'number' ? new HttpException(error.message ?? '', error.status) : error;
}
