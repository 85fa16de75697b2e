import { Controller, type Type } from '@nestjs/common';
import {
  MessagePattern,
  type ClientProxy,
  type CustomTransportStrategy,
  type Server,
} from '@nestjs/microservices';
import { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import { requireExtra } from '../extras.js';
import { NestServer } from './nest-app.js';
import { notOffered, type BenchClient, type BenchServer, type Setup } from './system.js';
import type { Work } from './work.js';

/* Handlers name the stream that their answer goes to, and its payload; a client reads the streams that it lists. */

const REPLIES = 'bench.replies';
const REQUESTS = ['sum', 'echo'];
const CLIENT_GROUP = 'bench-client';

interface Options {
  connection: { path: string };
  streams: { consumerGroup: string; consumer: string; block: number };
  responsePattern?: string[];
}

/** What is used of the package, which is not there when this is compiled. */
interface Package {
  RedisStreamServer: new (options: Options) => Server & CustomTransportStrategy;
  RedisStreamClient: new (options: Options) => ClientProxy;
}

const { RedisStreamServer, RedisStreamClient } = requireExtra<Package>(
  'de-novo',
  '@de-novo/nestjs-redis-streams',
);

export function createServer(setup: Setup, work: Work): BenchServer {
  const { port, service } = setup;
  const strategy = new RedisStreamServer(optionsFor(port, service));
  const server = new NestServer({ strategy }, setup, work, controllerFor(work));
  return {
    start: async () => {
      // It makes its groups after it has said that it listens, for what comes later than that.
      await makeGroups(port, REQUESTS, service);
      await server.start();
    },
    close: () => server.close(),
  };
}

export function createClient({ port }: Setup): BenchClient {
  const proxy = new RedisStreamClient({ ...optionsFor(port, CLIENT_GROUP), responsePattern: [REPLIES] });
  const ask = async <T>(pattern: string, value: object): Promise<T> =>
    (await firstValueFrom(proxy.send<{ result: T }>(pattern, { value }))).result;
  return {
    connect: async () => {
      await makeGroups(port, [REPLIES], CLIENT_GROUP);
      await proxy.connect();
    },
    request: (a, b) => ask<number>('sum', { a, b }),
    echo: (text) => ask<string>('echo', { text }),
    emit: () => notOffered('events that do not wait for an answer'),
    stream: () => notOffered('answers of several values'),
    close: async () => void (await proxy.close()),
  };
}

interface Answer {
  stream: string;
  payload: { value: { result: unknown } };
}

function controllerFor(work: Work): Type {
  const answer = (result: unknown): Answer[] => [{ stream: REPLIES, payload: { value: { result } } }];

  @Controller()
  class DeNovoController {
    @MessagePattern('sum')
    sum({ a, b }: { a: number; b: number }): Answer[] {
      return answer(work.sum(a, b));
    }

    @MessagePattern('echo')
    echo({ text }: { text: string }): Answer[] {
      return answer(text);
    }
  }
  return DeNovoController;
}

function optionsFor(port: number, group: string): Options {
  return {
    connection: { path: `redis://127.0.0.1:${port}` },
    streams: { consumerGroup: group, consumer: `consumer-${process.pid}`, block: 5_000 },
  };
}

async function makeGroups(port: number, streams: readonly string[], group: string): Promise<void> {
  const redis = new Redis(port, '127.0.0.1');
  try {
    for (const stream of streams) {
      await redis.xgroup('CREATE', stream, group, '$', 'MKSTREAM').catch((error: Error) => {
        // Another server process has made it.
        if (!error.message.startsWith('BUSYGROUP')) {
          throw error;
        }
      });
    }
  } finally {
    redis.disconnect();
  }
}
