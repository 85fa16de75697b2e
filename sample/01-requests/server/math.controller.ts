import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { RedisStreamsContext } from 'nestjs-redis-streams';

export interface Division {
  dividend: number;
  divisor: number;
}

@Controller()
export class MathController {
  @MessagePattern('math.sum')
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((sum, number) => sum + number, 0);
  }

  @MessagePattern({ service: 'math', cmd: 'divide' })
  divide(@Payload() { dividend, divisor }: Division): number {
    if (divisor === 0) {
      throw new RpcException({ code: 'DIVISION_BY_ZERO', message: 'Division by zero' });
    }
    return dividend / divisor;
  }

  @MessagePattern('math.describe')
  describe(@Payload() number: number, @Ctx() context: RedisStreamsContext): string {
    return `${number} is ${number % 2 === 0 ? 'even' : 'odd'}, says ${context.service} to ${context.headers['tenant']}`;
  }

  /** Never has an answer. The signal tells when the caller has stopped waiting, so that no work goes on for nobody. */
  @MessagePattern('math.lastDigitOfPi')
  lastDigitOfPi(@Ctx() { signal }: RedisStreamsContext): Promise<void> {
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }
}
