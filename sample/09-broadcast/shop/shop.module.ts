import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { FlagsController } from './flags.controller.js';
import { Flags } from './flags.js';

@Module({
  imports: [RedisStreamsModule.forRoot({ ...redisSettings(), service: 'shop' })],
  controllers: [FlagsController],
  providers: [Flags],
})
export class ShopModule {}
