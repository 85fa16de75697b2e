/* `flood.js server <url>`: answers and handles. `flood.js client <url>`: asks and tells without a pause, says `sent <n>` after each thousand. */
import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { RedisStreamsClient, RedisStreamsServer } from '../../../lib/index.js';

const [role, connection] = process.argv.slice(2);
const CALLERS = 400;

@Controller()
class FloodController {
  @MessagePattern('flood.ask')
  ask(@Payload() n: number): number {
    return n;
  }
  @EventPattern('flood.told')
  told(@Payload() n: number): void {
    if (n % 500 === 0) {
      throw new Error('one in five hundred fails');
    }
  }
}

@Module({ controllers: [FloodController] })
class FloodModule {}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function serve(): Promise<void> {
  const strategy = new RedisStreamsServer({
    connection: connection!,
    service: 'flood',
    lease: 1_000,
    retry: { maxDeliveries: 2, backoff: { type: 'fixed', delay: 100 } },
    deadLetters: { maxLength: 50 },
  });
  const app = await NestFactory.createMicroservice(FloodModule, { strategy, logger: false });
  app.enableShutdownHooks();
  await app.listen();
}

/** So many callers ask and tell, each without a pause: some of them wait for a takeover while the others go on. */
async function flood(): Promise<void> {
  const client = new RedisStreamsClient({ connection: connection!, service: 'flood', timeout: 15_000 });
  let isStopping = false;
  process.once('SIGTERM', () => (isStopping = true));
  let sent = 0;
  let said = 0;
  const call = async (): Promise<void> => {
    while (!isStopping) {
      await Promise.all([
        firstValueFrom(client.send('flood.ask', ++sent)),
        lastValueFrom(client.emit('flood.told', ++sent), { defaultValue: undefined }),
      ]);
      if (sent >= said + 1_000) {
        said = sent;
        say(`sent ${sent}`);
      }
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, call));
  await client.close();
}

await (role === 'server' ? serve() : flood());
say('ready');
