import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { ReportsController } from './reports.controller.js';

@Module({
  imports: [RedisStreamsModule.forRoot({ ...redisSettings(), service: 'reports' })],
  controllers: [ReportsController],
})
export class ReportsModule {}
