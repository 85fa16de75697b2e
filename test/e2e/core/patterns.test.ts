import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Transport } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import {
  ConfigurationError,
  REDIS_STREAMS,
  RedisStreamsContext,
  RedisStreamsServer,
} from '../../../lib/index.js';
import { closeAll, connect, serve } from '../../support/app.js';
import { RedisServer } from '../../support/redis-server.js';
import { deferred } from '../../support/wait.js';

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
});
afterEach(closeAll);
afterAll(() => redis.stop());

const JSON_LOOKALIKES = [
  'true',
  'null',
  '1e3',
  '1.0',
  '0x10',
  '[1,2]',
  '"quoted"',
  '12345678901234567890',
  '{"b":1,"a":2}',
  '-0',
];

test.each(JSON_LOOKALIKES)(
  'a pattern that looks like JSON is a pattern like any other: %s',
  async (pattern) => {
    const got = deferred<unknown>();
    @Controller()
    class LookalikeController {
      @MessagePattern(pattern)
      ask(@Ctx() context: RedisStreamsContext): string {
        return `asked ${context.pattern}`;
      }
      @EventPattern<string>(`${pattern} `)
      spaced(): void {
        got.resolve('the one with a space');
      }
      @EventPattern<string>(pattern)
      tell(@Ctx() context: RedisStreamsContext): void {
        got.resolve(context.pattern);
      }
    }
    const options = {
      connection: redis.url,
      service: 'lookalike',
      namespace: `json-${JSON_LOOKALIKES.indexOf(pattern)}`,
    };
    await serve(options, LookalikeController);
    const client = connect(options);
    await expect(firstValueFrom(client.send(pattern, {}))).resolves.toBe(`asked ${pattern}`);
    await firstValueFrom(client.emit(pattern, {}), { defaultValue: undefined });
    await expect(got.promise).resolves.toBe(pattern);
  },
);

@Controller()
class ShapesController {
  @MessagePattern('text with spaces / slashes : colons')
  text(): string {
    return 'text';
  }
  @MessagePattern(7)
  seven(): string {
    return 'seven';
  }
  @MessagePattern({ cmd: 'sum', version: 1 })
  first(): string {
    return 'object';
  }
  @MessagePattern({ cmd: 'sum', version: '1' })
  second(): string {
    return 'object with a string';
  }
  @MessagePattern({ nested: { deep: [1, 2] } })
  nested(): string {
    return 'nested';
  }
  @MessagePattern(['one', 'two'])
  several(): string {
    return 'one of two';
  }
}

test('string, number and object patterns find their handlers, whatever the order of an object’s keys', async () => {
  const options = { connection: redis.url, service: 'shapes' };
  await serve(options, ShapesController);
  const client = connect(options);
  const ask = (pattern: unknown): Promise<unknown> => firstValueFrom(client.send(pattern, {}));
  await expect(ask('text with spaces / slashes : colons')).resolves.toBe('text');
  await expect(ask(7)).resolves.toBe('seven');
  await expect(ask({ cmd: 'sum', version: 1 })).resolves.toBe('object');
  await expect(ask({ version: 1, cmd: 'sum' })).resolves.toBe('object');
  await expect(ask({ version: '1', cmd: 'sum' })).resolves.toBe('object with a string');
  await expect(ask({ nested: { deep: [1, 2] } })).resolves.toBe('nested');
  await expect(ask('one')).resolves.toBe('one of two');
  await expect(ask('two')).resolves.toBe('one of two');
});

test('an event with an object pattern reaches its handler', async () => {
  const got = deferred<string>();
  @Controller()
  class ObjectEventController {
    @EventPattern({ type: 'paid', region: 'eu' })
    on(@Ctx() context: RedisStreamsContext): void {
      got.resolve(context.pattern);
    }
  }
  const options = { connection: redis.url, service: 'object-events', namespace: 'objects' };
  await serve(options, ObjectEventController);
  connect(options).emit({ region: 'eu', type: 'paid' }, {});
  await expect(got.promise).resolves.toBe('{"region":"eu","type":"paid"}');
});

test('a regular expression as a pattern is refused, and the message says so', async () => {
  @Controller()
  class RegExpController {
    @EventPattern<string>(/orders\..*/ as unknown as string)
    on(): void {
      return;
    }
  }
  const started = serve({ connection: redis.url, service: 'regexp' }, RegExpController);
  await expect(started).rejects.toThrow(ConfigurationError);
  await expect(started).rejects.toThrow(/orders.*regular expression.*string, number or object/);
});

test('handlers bound to another transport are not registered here, those bound to this one are', async () => {
  @Controller()
  class BoundController {
    @MessagePattern('here', REDIS_STREAMS)
    here(): string {
      return 'here';
    }
    @MessagePattern('tcp', Transport.TCP)
    tcp(): string {
      return 'tcp';
    }
    @EventPattern<string>('tcp-event', Transport.TCP)
    event(): void {
      return;
    }
    @MessagePattern('anywhere')
    anywhere(): string {
      return 'anywhere';
    }
  }
  const options = { connection: redis.url, service: 'bound' };
  const { server } = await serve(options, BoundController);
  const client = connect(options);
  await expect(firstValueFrom(client.send('here', {}))).resolves.toBe('here');
  await expect(firstValueFrom(client.send('anywhere', {}))).resolves.toBe('anywhere');
  await expect(firstValueFrom(client.send('tcp', {}))).rejects.toBe(
    'There is no matching message handler defined in the remote service.',
  );
  expect([...server.getHandlers().keys()].sort()).toEqual(['anywhere', 'here']);
  expect(server.transportId).toBe(Symbol.for('nestjs-redis-streams'));
});

test('the extras of a pattern land on its handler', () => {
  const server = new RedisStreamsServer({ service: 'extras' });
  const handler = (): Promise<undefined> => Promise.resolve(undefined);
  server.addHandler({ b: 1, a: 2 }, handler, true, { priority: 'high' });
  const added = server.getHandlers().get('{"a":2,"b":1}');
  expect(added?.extras).toEqual({ priority: 'high' });
  expect(added?.isEventHandler).toBe(true);
});

test('the extras given to a decorator land on the handler that Nest makes of it', async () => {
  @Controller()
  class ExtrasController {
    @MessagePattern('with-extras', REDIS_STREAMS, { cost: 3 })
    ask(): string {
      return 'asked';
    }
  }
  const { server } = await serve({ connection: redis.url, service: 'extras' }, ExtrasController);
  expect(server.getHandlers().get('with-extras')?.extras).toMatchObject({ cost: 3 });
  expect(server.getHandlers().get('with-extras')?.isEventHandler).toBe(false);
});

test('the last of several message handlers of one pattern answers', async () => {
  @Controller()
  class FirstController {
    @MessagePattern('twice')
    ask(): string {
      return 'first';
    }
  }
  @Controller()
  class SecondController {
    @MessagePattern('twice')
    ask(): string {
      return 'second';
    }
  }
  const options = { connection: redis.url, service: 'twice' };
  await serve(options, FirstController, SecondController);
  await expect(firstValueFrom(connect(options).send('twice', {}))).resolves.toBe('second');
});

test('a pattern that never had a handler is answered at once, whatever it looks like', async () => {
  const options = { connection: redis.url, service: 'unknown' };
  await serve(options, ShapesController);
  const client = connect(options);
  for (const pattern of ['nobody', '__proto__', 'constructor', 'toString', '{', '{"a":', 'null']) {
    await expect(firstValueFrom(client.send(pattern, {}))).rejects.toBe(
      'There is no matching message handler defined in the remote service.',
    );
  }
});
