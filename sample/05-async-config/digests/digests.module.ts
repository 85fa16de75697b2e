import { Module } from '@nestjs/common';
import { MsgpackCodec, RedisStreamsModule } from 'nestjs-redis-streams';
import { ConfigModule } from '../config/config.module.js';
import { ConfigService } from '../config/config.service.js';
import { DigestsController } from './digests.controller.js';

@Module({
  imports: [
    RedisStreamsModule.forRootAsync({
      imports: [ConfigModule],
      inject: [ConfigService],
      useFactory: ({ redis, digests }: ConfigService) => ({
        ...redis,
        service: digests.service,
        codec: new MsgpackCodec(),
      }),
    }),
  ],
  controllers: [DigestsController],
})
export class DigestsModule {}
