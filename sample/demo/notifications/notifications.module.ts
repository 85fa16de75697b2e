import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { NotificationsController } from './notifications.controller.js';

@Module({
  imports: [
    RedisStreamsModule.forRoot({ ...redisSettings(), service: 'notifications', shutdownTimeout: 1_000 }),
  ],
  controllers: [NotificationsController],
})
export class NotificationsModule {}
