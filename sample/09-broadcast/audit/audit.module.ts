import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { AuditController } from './audit.controller.js';

@Module({
  imports: [RedisStreamsModule.forRoot({ ...redisSettings(), service: 'audit' })],
  controllers: [AuditController],
})
export class AuditModule {}
