import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { clusterSettings } from '../../support/settings.js';
import { SHARDS } from '../contracts.js';
import { BakeryController } from './bakery.controller.js';

@Module({
  imports: [RedisStreamsModule.forRoot({ ...clusterSettings(), shards: SHARDS, service: 'bakery' })],
  controllers: [BakeryController],
})
export class BakeryModule {}
