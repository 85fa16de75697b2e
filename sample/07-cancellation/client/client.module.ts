import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { REPORTS, ReportsClientService } from './reports-client.service.js';

@Module({
  imports: [
    // Long enough for these reports; who does not want to wait that long unsubscribes.
    RedisStreamsModule.forRoot({ ...redisSettings(), timeout: 600_000 }),
    RedisStreamsModule.forClients([{ name: REPORTS, service: 'reports' }]),
  ],
  providers: [ReportsClientService],
})
export class ClientModule {}
