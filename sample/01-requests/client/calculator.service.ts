import { Injectable } from '@nestjs/common';
import type { ClientProxy } from '@nestjs/microservices';
import { InjectRedisStreamsClient, RedisStreamsRecordBuilder } from 'nestjs-redis-streams';
import { firstValueFrom } from 'rxjs';
import type { Division } from '../server/math.controller.js';

export const MATH = 'MATH';

@Injectable()
export class CalculatorService {
  constructor(@InjectRedisStreamsClient(MATH) private readonly math: ClientProxy) {}

  sum(...numbers: number[]): Promise<number> {
    return firstValueFrom(this.math.send<number>('math.sum', numbers));
  }

  divide(division: Division): Promise<number> {
    return firstValueFrom(this.math.send<number>({ service: 'math', cmd: 'divide' }, division));
  }

  describe(number: number, tenant: string): Promise<string> {
    const record = new RedisStreamsRecordBuilder(number).setHeaders({ tenant }).build();
    return firstValueFrom(this.math.send<string>('math.describe', record));
  }

  lastDigitOfPi(timeout: number): Promise<number> {
    const record = new RedisStreamsRecordBuilder({}).setTimeout(timeout).build();
    return firstValueFrom(this.math.send<number>('math.lastDigitOfPi', record));
  }
}
