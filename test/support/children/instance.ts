import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  RedisStreamsContext,
  RedisStreamsServer,
  type RedisStreamsServerOptions,
} from '../../../lib/index.js';

/** What a message says its handler is to do. */
export interface Task {
  name: string;
  /** `end`, at once or after `ms`; `hang`; `die`; `fail`. */
  then: 'end' | 'hang' | 'die' | 'fail';
  ms?: number;
}

/** An instance of a service that does what its messages say, and says what it does: `started <name>`, `ended <name>`. */
async function carryOut({ name, then, ms = 0 }: Task, context: RedisStreamsContext): Promise<string> {
  say(`started ${name} ${context.deliveryCount}`);
  context.signal.addEventListener('abort', () => say(`aborted ${name} ${String(context.signal.reason)}`));
  switch (then) {
    case 'die':
      process.kill(process.pid, 'SIGKILL');
      return new Promise(() => undefined);
    case 'hang':
      return new Promise(() => undefined);
    case 'fail':
      throw new Error(`${name} fails`);
    case 'end':
      if (ms > 0) {
        await new Promise((resolve) => setTimeout(resolve, ms));
      }
      say(`ended ${name}`);
      return `${name} by ${process.pid}`;
  }
}

@Controller()
class TaskController {
  @MessagePattern('task')
  request(@Payload() task: Task, @Ctx() context: RedisStreamsContext): Promise<string> {
    return carryOut(task, context);
  }
  @EventPattern<string>('task.event')
  event(@Payload() task: Task, @Ctx() context: RedisStreamsContext): Promise<string> {
    return carryOut(task, context);
  }
}

class TaskModule {}
Module({ controllers: [TaskController] })(TaskModule);

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const options = JSON.parse(process.argv[2]!) as RedisStreamsServerOptions;
const app = await NestFactory.createMicroservice(TaskModule, {
  strategy: new RedisStreamsServer(options),
  logger: ['warn', 'error'],
});
app.enableShutdownHooks();
await app.listen();
say('listening');
