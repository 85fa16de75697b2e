import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { OutcomeUnknownError } from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { heldBy, routed } from '../support/counting.js';
import { Proxy } from '../support/proxy.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

let redis: RedisServer;
let proxy: Proxy;
beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
});
beforeEach(async () => {
  proxy = await Proxy.start(redis.port);
});
afterEach(async () => {
  await closeAll();
  await proxy.stop();
});
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await redis.stop();
});

@Controller()
class EchoController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
}

test('a command connection that died without a word is replaced: the event it carried is unknown, later ones work', async () => {
  const client = connect({ connection: routed(['commands'], proxy.port, redis.port), service: 'echo' });
  await lastValueFrom(client.emit('noted', 1));
  const before = proxy.connections;
  proxy.freeze();
  const frozenAt = performance.now();
  const error: unknown = await lastValueFrom(client.emit('noted', 2)).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(OutcomeUnknownError);
  // PING within 5 s of a command, and 5 s for its answer: long before the event's own timeout of 30 s.
  expect(performance.now() - frozenAt).toBeLessThan(13_000);
  await lastValueFrom(client.emit('noted', 3));
  expect(proxy.connections).toBeGreaterThan(before);
}, 30_000);

test('a connection for replies that died without a word is replaced, and the reply arrives', async () => {
  await serve({ connection: redis.url, service: 'echo' }, EchoController);
  const client = connect({ connection: routed(['replies'], proxy.port, redis.port), service: 'echo' });
  await expect(firstValueFrom(client.send('echo', 1))).resolves.toBe(1);
  proxy.freeze();
  const frozenAt = performance.now();
  await expect(firstValueFrom(client.send('echo', 2))).resolves.toBe(2);
  // BLOCK and its grace are 7 s, and it is looked at once a second.
  expect(performance.now() - frozenAt).toBeLessThan(12_000);
  expect(proxy.connections).toBe(2);
  await eventually(() => heldBy(client).pending === 0, 'nothing pending');
}, 30_000);
