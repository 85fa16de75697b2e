/*
 * `cost.js server <url>` answers. `cost.js client <url>` asks, and says what that has cost as a line of JSON: see
 * `Costs`. Both need --expose-gc, and a young generation that holds all that is made while it is counted.
 */
import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import { RedisStreamsClient, RedisStreamsServer } from '../../../lib/index.js';

/** What requests have cost. */
export interface Costs {
  /** Redis commands a request, those inside scripts included. */
  commandsAtOne: number;
  commandsAtMany: number;
  /** Bytes that were allocated on the heap for each request. */
  clientBytes: number;
  serverBytes: number;
  /** Bytes by which the live heap grew over all requests. */
  clientGrowth: number;
  serverGrowth: number;
}

const MANY = 128;
const REQUESTS = 50_000;

const [role, connection] = process.argv.slice(2) as [string, string];

@Controller()
class CostController {
  @MessagePattern('sum')
  sum(@Payload() { a, b }: { a: number; b: number }): number {
    return a + b;
  }
  @MessagePattern('heap')
  heap(@Payload() collect: boolean): number {
    return heapUsed(collect);
  }
}

@Module({ controllers: [CostController] })
class CostModule {}

function heapUsed(collect: boolean): number {
  if (collect) {
    globalThis.gc!();
  }
  return process.memoryUsage().heapUsed;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function serve(): Promise<void> {
  const strategy = new RedisStreamsServer({ connection, service: 'cost' });
  const app = await NestFactory.createMicroservice(CostModule, { strategy, logger: false });
  await app.listen();
  say('listening');
}

async function ask(): Promise<void> {
  const client = new RedisStreamsClient({ connection, service: 'cost' });
  await client.connect();
  const redis = new Redis(connection);

  const heaps = async (collect: boolean): Promise<[number, number]> => [
    heapUsed(collect),
    await firstValueFrom(client.send<number>('heap', collect)),
  ];
  const requests = async (count: number, inFlight: number): Promise<void> => {
    let left = count;
    const caller = async (): Promise<void> => {
      while (left-- > 0) {
        const sum = await firstValueFrom(client.send<number>('sum', { a: left, b: 7 }));
        if (sum !== left + 7 && inFlight === 1) {
          throw new Error(`Wrong answer: ${sum}`);
        }
      }
    };
    await Promise.all(Array.from({ length: inFlight }, caller));
  };
  const commands = async (): Promise<number> => {
    const calls = [...(await redis.info('commandstats')).matchAll(/:calls=(\d+)/g)];
    return calls.reduce((sum, [, count]) => sum + Number(count), 0);
  };
  const commandsFor = async (count: number, inFlight: number): Promise<number> => {
    const before = await commands();
    await requests(count, inFlight);
    return ((await commands()) - before) / count;
  };

  await requests(20_000, MANY);
  const commandsAtOne = await commandsFor(500, 1);
  const commandsAtMany = await commandsFor(10_000, MANY);

  // A full collection, and then none until it is counted.
  await heaps(true);
  const [clientBefore, serverBefore] = await heaps(false);
  await requests(10_000, MANY);
  const [clientAfter, serverAfter] = await heaps(false);

  const [clientFirst, serverFirst] = await heaps(true);
  await requests(REQUESTS, MANY);
  const [clientLast, serverLast] = await heaps(true);
  const costs: Costs = {
    commandsAtOne,
    commandsAtMany,
    clientBytes: (clientAfter - clientBefore) / 10_000,
    serverBytes: (serverAfter - serverBefore) / 10_000,
    clientGrowth: clientLast - clientFirst,
    serverGrowth: serverLast - serverFirst,
  };
  say(`costs ${JSON.stringify(costs)}`);
  redis.disconnect();
  await client.close();
}

await (role === 'server' ? serve() : ask());
