import { Injectable } from '@nestjs/common';

/** In real life a table, or a service that may be down. */
@Injectable()
export class TaxRates {
  private readonly rates = new Map([['Utopia', 0.2]]);

  /** Throws where there is none. */
  of(country: string): number {
    const rate = this.rates.get(country);
    if (rate === undefined) {
      throw new RangeError(`There is no tax rate for ${country}`);
    }
    return rate;
  }

  set(country: string, rate: number): void {
    this.rates.set(country, rate);
  }
}
