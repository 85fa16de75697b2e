import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { interval, map, type Observable } from 'rxjs';
import {
  RedisStreamsContext,
  RedisStreamsServer,
  RetryLater,
  type RedisStreamsServerOptions,
} from '../../../lib/index.js';
import type { Task } from '../tasks.js';

/**
 * An instance of a service that does what its messages say, and tells what happens: `started <name> <delivery>`,
 * `ended <name>`, `aborted <name> <reason>`, `hook <report> <details>`. SIGHUP lets go on what waits for it. SIGUSR2
 * closes it, and nothing else: whether the process ends then is up to what is left in it.
 */
async function carryOut({ name, then, ms = 0, waits }: Task, context: RedisStreamsContext): Promise<string> {
  // Before it says that it has started: whoever reads that may send the signal at once.
  const letGo = waits ? new Promise((resolve) => process.once('SIGHUP', resolve)) : undefined;
  say(`started ${name} ${context.deliveryCount}`);
  context.signal.addEventListener('abort', () => say(`aborted ${name} ${String(context.signal.reason)}`));
  if (ms > 0 && then !== 'later') {
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
  await letGo;
  switch (then) {
    case 'die':
      process.kill(process.pid, 'SIGKILL');
      return new Promise(() => undefined);
    case 'hang':
      return new Promise(() => undefined);
    case 'fail':
      throw new Error(`${name} fails`);
    case 'later':
      throw new RetryLater(ms);
    case 'end':
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
  /** Values without end. */
  @MessagePattern('task.values')
  values(@Payload() { name, ms = 20 }: Task, @Ctx() context: RedisStreamsContext): Observable<string> {
    say(`started ${name} ${context.deliveryCount}`);
    return interval(ms).pipe(map((i) => `${name} ${i}`));
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

process.setMaxListeners(0);
// Once it has been listened to, nothing that comes late ends the process.
process.on('SIGHUP', () => undefined);
const options = JSON.parse(process.argv[2]!) as RedisStreamsServerOptions;
const server = new RedisStreamsServer(options);
for (const name of ['instanceDied', 'fenced', 'retried', 'deadLettered'] as const) {
  server.hooks.on(name, (report) => say(`hook ${name} ${JSON.stringify(report)}`));
}
const app = await NestFactory.createMicroservice(TaskModule, { strategy: server, logger: ['warn', 'error'] });
process.once('SIGUSR2', () => {
  void app.close().then(() => say('closed'));
});
await app.listen();
say('listening');
