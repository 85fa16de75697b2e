import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, type MicroserviceOptions } from '@nestjs/microservices';
import { childSetup, cpuMicros } from './messages.js';
import { serverOptions } from './systems.js';

@Controller()
class SumController {
  @MessagePattern('sum')
  sum({ a, b }: { a: number; b: number }): number {
    return a + b;
  }
}

@Module({ controllers: [SumController] })
class ServerModule {}

const { system, port } = childSetup();
const app = await NestFactory.createMicroservice<MicroserviceOptions>(ServerModule, {
  ...serverOptions(system, port),
  logger: false,
});
await app.listen();
process.on('message', () => process.send?.(cpuMicros()));
process.on('disconnect', () => process.exit());
process.send?.('ready');
