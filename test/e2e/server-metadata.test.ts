import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { ConfigurationError, RedisStreamsContext, RedisStreamsRecordBuilder } from '../../lib/index.js';
import type { RedisStreamsClient } from '../../lib/index.js';
import { closeAll, connect, inspect, serve } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred } from '../support/wait.js';

let told = deferred<unknown>();

@Controller()
class MetadataController {
  @MessagePattern('ask')
  ask(@Ctx() context: RedisStreamsContext): unknown {
    return { metadata: context.getMetadata(), headers: context.headers };
  }
  @EventPattern('told')
  on(@Ctx() context: RedisStreamsContext): void {
    told.resolve({ metadata: context.getMetadata(), headers: context.headers });
  }
}

let redis: RedisServer;
let client: RedisStreamsClient;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  told = deferred();
  const options = { connection: redis.url, service: 'metadata' };
  await serve(options, MetadataController);
  client = connect(options);
});
afterEach(closeAll);
afterAll(() => redis.stop());

test('what a dispatch hook puts into a request’s metadata arrives in its context', async () => {
  client.setOnDispatchHook((packet) => (packet.metadata = { traceparent: '00-ab-cd-01' }));
  await expect(firstValueFrom(client.send('ask', {}))).resolves.toEqual({
    metadata: { traceparent: '00-ab-cd-01' },
    headers: { traceparent: '00-ab-cd-01' },
  });
});

test('what a dispatch hook puts into an event’s metadata arrives in its context', async () => {
  client.setOnDispatchHook((packet) => (packet.metadata = { traceparent: '00-ab-cd-02' }));
  client.emit('told', {});
  await expect(told.promise).resolves.toEqual({
    metadata: { traceparent: '00-ab-cd-02' },
    headers: { traceparent: '00-ab-cd-02' },
  });
});

test('a dispatch hook is called once for each message, and sees its pattern', async () => {
  const patterns: unknown[] = [];
  client.setOnDispatchHook((packet) => patterns.push(packet.pattern));
  await firstValueFrom(client.send('ask', {}));
  client.emit('told', {});
  await told.promise;
  expect(patterns).toEqual(['ask', 'told']);
});

test('metadata and a record’s headers arrive together, and the record’s win', async () => {
  client.setOnDispatchHook(
    (packet) => (packet.metadata = { trace: 'from the hook', tenant: 'from the hook' }),
  );
  const record = new RedisStreamsRecordBuilder({}).setHeaders({ tenant: 'acme', lang: 'pl' }).build();
  await expect(firstValueFrom(client.send('ask', record))).resolves.toMatchObject({
    metadata: { trace: 'from the hook', tenant: 'acme', lang: 'pl' },
  });
});

test('without a hook there is no metadata', async () => {
  await expect(firstValueFrom(client.send('ask', {}))).resolves.toEqual({ headers: {} });
});

test('metadata that is not made of strings is an error at the caller, and nothing is sent', async () => {
  client.setOnDispatchHook((packet) => (packet.metadata = { count: 1 } as never));
  await expect(firstValueFrom(client.send('ask', {}))).rejects.toThrow(ConfigurationError);
  await expect(firstValueFrom(client.emit('told', {}))).rejects.toThrow(/metadata.*strings/);
  await expect(inspect(redis.url).xinfo('STREAM', '{nest:0}:inbox:metadata')).resolves.toContain(
    'entries-added',
  );
  await expect(inspect(redis.url).xlen('{nest:0}:inbox:metadata')).resolves.toBe(0);
});
