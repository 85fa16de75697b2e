import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer, RequestTimeoutError } from 'nestjs-redis-streams';
import { CalculatorModule } from './client/calculator.module.js';
import { CalculatorService } from './client/calculator.service.js';
import { MathModule } from './server/math.module.js';

async function bootstrap(): Promise<void> {
  const server = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(MathModule, {
    logger: ['error', 'warn'],
    inject: [RedisStreamsServer],
    useFactory: (strategy: RedisStreamsServer) => ({ strategy }),
  });
  await server.listen();
  const client = await NestFactory.createApplicationContext(CalculatorModule, { logger: ['error', 'warn'] });
  try {
    await ask(client.get(CalculatorService));
  } finally {
    await client.close();
    await server.close();
  }
}

async function ask(calculator: CalculatorService): Promise<void> {
  console.log(`1 + 2 + 3 = ${await calculator.sum(1, 2, 3)}`);
  console.log(`7 / 2 = ${await calculator.divide({ dividend: 7, divisor: 2 })}`);
  try {
    await calculator.divide({ dividend: 1, divisor: 0 });
  } catch (error) {
    // What an RpcException was made with arrives as a plain object, as with Nest's own transports.
    const { code, message } = error as { code: string; message: string };
    console.log(`1 / 0 was refused: ${message} (${code})`);
  }
  console.log(await calculator.describe(42, 'acme'));
  try {
    await calculator.lastDigitOfPi(200);
  } catch (error) {
    if (!(error instanceof RequestTimeoutError)) {
      throw error;
    }
    console.log(`Gave up: no reply to '${error.pattern}' from '${error.service}' within ${error.timeout} ms`);
  }
}

await bootstrap();
