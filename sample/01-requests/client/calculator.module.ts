import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { CalculatorService, MATH } from './calculator.service.js';

@Module({
  imports: [
    RedisStreamsModule.forRoot({ ...redisSettings(), timeout: 5_000 }),
    RedisStreamsModule.forClients([{ name: MATH, service: 'math' }]),
  ],
  providers: [CalculatorService],
})
export class CalculatorModule {}
