/* A service in a process of its own: `service.js <url> [hybrid]`. Ends by SIGTERM, as Nest has it. */
import 'reflect-metadata';
import {
  Controller,
  Module,
  type BeforeApplicationShutdown,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer } from '../../../lib/index.js';

const say = (line: string): void => void process.stdout.write(`${line}\n`);

@Controller()
class ServiceController implements BeforeApplicationShutdown, OnApplicationShutdown {
  @MessagePattern('slow')
  async slow(@Payload() ms: number): Promise<string> {
    say('handling');
    await new Promise((resolve) => setTimeout(resolve, ms));
    say('handled');
    return 'done';
  }

  beforeApplicationShutdown(signal?: string): void {
    say(`shutting down by ${signal}`);
  }

  onApplicationShutdown(): void {
    say('shut down');
  }
}

@Module({ controllers: [ServiceController] })
class ServiceModule {}

const [connection, kind] = process.argv.slice(2);
const strategy = new RedisStreamsServer({ connection, service: 'child' });
if (kind === 'hybrid') {
  const app = await NestFactory.create(ServiceModule, { logger: false });
  app.connectMicroservice<MicroserviceOptions>({ strategy });
  app.enableShutdownHooks();
  await app.init();
  await app.startAllMicroservices();
} else {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(ServiceModule, {
    strategy,
    logger: false,
  });
  app.enableShutdownHooks();
  await app.listen();
}
say('listening');
