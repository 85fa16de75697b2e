import { Module } from '@nestjs/common';
import { MsgpackCodec, RedisStreamsModule } from 'nestjs-redis-streams';
import { ConfigModule } from '../config/config.module.js';
import { ConfigService } from '../config/config.service.js';
import { DIGESTS, DigestsClientService } from './digests-client.service.js';

@Module({
  imports: [
    RedisStreamsModule.forRootAsync({
      imports: [ConfigModule],
      inject: [ConfigService],
      useFactory: ({ redis }: ConfigService) => ({ ...redis, codec: new MsgpackCodec() }),
    }),
    RedisStreamsModule.forClientsAsync([
      {
        name: DIGESTS,
        imports: [ConfigModule],
        inject: [ConfigService],
        useFactory: ({ digests }: ConfigService) => digests,
      },
    ]),
  ],
  providers: [DigestsClientService],
})
export class ClientModule {}
