import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Inject, Injectable, Scope } from '@nestjs/common';
import { REQUEST } from '@nestjs/core';
import { CONTEXT, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import type { RequestContext } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { RedisStreamsClient, RedisStreamsContext } from '../../../lib/index.js';
import { closeAll, connect, serveModule } from '../../support/app.js';
import { RedisServer } from '../../support/redis-server.js';

let instances = 0;

@Injectable({ scope: Scope.REQUEST })
class PerMessage {
  readonly number = ++instances;
  constructor(@Inject(CONTEXT) readonly message: RequestContext<unknown, RedisStreamsContext>) {}
}

@Controller({ scope: Scope.REQUEST })
class ScopedController {
  constructor(
    @Inject(REQUEST) private readonly request: RequestContext<unknown, RedisStreamsContext>,
    @Inject(PerMessage) private readonly own: PerMessage,
  ) {}
  @MessagePattern('scoped')
  scoped(@Payload() data: unknown): object {
    return {
      number: this.own.number,
      data: this.request.data,
      isSame: this.request.getData() === data && this.own.message.getContext() === this.request.getContext(),
      pattern: this.request.getPattern(),
      id: this.request.getContext().requestId,
    };
  }
}

@Controller({ scope: Scope.REQUEST })
class BrokenScopeController {
  constructor() {
    throw new RpcException('the constructor of this scope fails');
  }
  @MessagePattern('broken-scope')
  ask(): string {
    return 'never';
  }
}

let redis: RedisServer;
let client: RedisStreamsClient;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  const options = { connection: redis.url, service: 'scopes' };
  await serveModule(options, {
    controllers: [ScopedController, BrokenScopeController],
    providers: [PerMessage],
  });
  client = connect(options);
});
afterEach(closeAll);
afterAll(() => redis.stop());

const ask = (pattern: string, data: unknown = {}): Promise<unknown> =>
  firstValueFrom(client.send<unknown>(pattern, data));

test('a request-scoped controller is made anew for each message, with REQUEST and CONTEXT of that message', async () => {
  instances = 0;
  const answers = (await Promise.all([1, 2, 3].map((data) => ask('scoped', data)))) as {
    number: number;
    id: string;
    data: unknown;
  }[];
  expect(answers.map(({ number }) => number).sort()).toEqual([1, 2, 3]);
  expect(new Set(answers.map(({ id }) => id)).size).toBe(3);
  expect(answers.map(({ data }) => data)).toEqual([1, 2, 3]);
  for (const answer of answers) {
    expect(answer).toMatchObject({ isSame: true, pattern: 'scoped' });
  }
});

test('a request-scoped constructor that fails is an error for the caller', async () => {
  await expect(ask('broken-scope')).rejects.toEqual({
    status: 'error',
    message: 'the constructor of this scope fails',
  });
});
