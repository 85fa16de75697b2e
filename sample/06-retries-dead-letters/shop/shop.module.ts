import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { EVENTS, ShopService } from './shop.service.js';

@Module({
  imports: [RedisStreamsModule.forRoot(redisSettings()), RedisStreamsModule.forClients([{ name: EVENTS }])],
  providers: [ShopService],
})
export class ShopModule {}
