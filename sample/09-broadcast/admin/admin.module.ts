import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { AdminService, EVENTS } from './admin.service.js';

@Module({
  imports: [RedisStreamsModule.forRoot(redisSettings()), RedisStreamsModule.forClients([{ name: EVENTS }])],
  providers: [AdminService],
})
export class AdminModule {}
