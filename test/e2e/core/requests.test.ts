import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { firstValueFrom, of, toArray, lastValueFrom } from 'rxjs';
import { closeAll, connect, serve } from '../../support/app.js';
import { RedisServer } from '../../support/redis-server.js';

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
});
afterEach(closeAll);
afterAll(() => redis.stop());

@Controller()
class MathController {
  @MessagePattern('sum')
  sum(numbers: number[]): number {
    return numbers.reduce((a, b) => a + b, 0);
  }
  @MessagePattern({ cmd: 'many' })
  many() {
    return of(1, 2, 3);
  }
}

test('a request is answered', async () => {
  await serve({ connection: redis.url, service: 'math' }, MathController);
  const client = connect({ connection: redis.url, service: 'math' });
  await expect(firstValueFrom(client.send('sum', [1, 2]))).resolves.toBe(3);
  await expect(lastValueFrom(client.send({ cmd: 'many' }, {}).pipe(toArray()))).resolves.toEqual([1, 2, 3]);
});
