/* An instance of a service: `server.js <ServerSetup as JSON>`. Ends by SIGTERM, as Nest has it. */
import 'reflect-metadata';
import './exit-on-error.js';
import { setTimeout as pause } from 'node:timers/promises';
import { Controller, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { interval, map, take, type Observable } from 'rxjs';
import { RedisStreamsServer, type RedisStreamsContext } from '../../../lib/index.js';
import { ASK, ASKED, COUNT, EVENT, VALUES, type Message, type ServerSetup } from '../load.js';
import { Book, type HandlerRecord } from '../records.js';
import { begin } from './begin.js';
import { StdoutLogger } from './stdout-logger.js';

const setup = JSON.parse(process.argv[2]!) as ServerSetup;
const book = new Book(setup.book);

function note(what: HandlerRecord['what'], { id }: Message, context: RedisStreamsContext): void {
  const { service } = setup;
  book.write({ what, id, service, entry: context.entryId, deliveries: context.deliveryCount });
}

@Controller()
class EventController {
  @EventPattern<string>(EVENT)
  async placed(@Payload() message: Message, @Ctx() context: RedisStreamsContext): Promise<void> {
    note('began', message, context);
    if (message.kills === setup.service) {
      note('killing itself', message, context);
      process.kill(process.pid, 'SIGKILL');
    }
    await pause(message.ms);
    if (context.deliveryCount <= (message.failures ?? 0)) {
      note('threw', message, context);
      throw new Error('This delivery fails, as it was told to');
    }
    note('handled', message, context);
  }
}

@Controller()
class RequestController {
  @MessagePattern(ASK)
  async ask(@Payload() message: Message, @Ctx() context: RedisStreamsContext): Promise<string> {
    note('began', message, context);
    await pause(message.ms);
    note('handled', message, context);
    return message.id;
  }

  @MessagePattern(COUNT)
  count(@Payload() message: Message, @Ctx() context: RedisStreamsContext): Observable<number> {
    note('began', message, context);
    return interval(message.ms).pipe(
      take(VALUES),
      map((i) => {
        if (i === VALUES - 1) {
          note('handled', message, context);
        }
        return i + 1;
      }),
    );
  }
}

const controllers: Type[] = [EventController, ...(setup.service === ASKED ? [RequestController] : [])];

@Module({ controllers })
class ServiceModule {}

const app = await NestFactory.createMicroservice<MicroserviceOptions>(ServiceModule, {
  strategy: new RedisStreamsServer({
    connection: setup.connection,
    service: setup.service,
    lease: setup.lease,
    retry: {
      maxDeliveries: setup.maxDeliveries,
      backoff: { type: 'exponential', base: setup.lease / 20, max: setup.lease / 2 },
    },
    // It may be started while Redis is away.
    connectTimeout: 60_000,
  }),
  logger: new StdoutLogger(),
});
app.enableShutdownHooks();
await begin(() => app.listen());
