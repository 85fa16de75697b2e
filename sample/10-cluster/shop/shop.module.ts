import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { clusterSettings } from '../../support/settings.js';
import { SHARDS } from '../contracts.js';
import { BAKERY, ShopService } from './shop.service.js';

/** Longer than a failover takes, so that few have to try again; short, so that the sample ends soon. */
const TIMEOUT_MS = 5_000;

@Module({
  imports: [
    RedisStreamsModule.forRoot({ ...clusterSettings(), shards: SHARDS, timeout: TIMEOUT_MS }),
    RedisStreamsModule.forClients([{ name: BAKERY, service: 'bakery' }]),
  ],
  providers: [ShopService],
})
export class ShopModule {}
