import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { MathController } from './math.controller.js';

@Module({
  imports: [RedisStreamsModule.forRoot({ ...redisSettings(), service: 'math' })],
  controllers: [MathController],
})
export class MathModule {}
