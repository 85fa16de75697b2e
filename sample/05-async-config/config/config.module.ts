import { Module } from '@nestjs/common';
import { setImmediate } from 'node:timers/promises';
import { redisSettings } from '../../support/settings.js';
import { ConfigService, type Configuration } from './config.service.js';

/** A file, a vault or a service, in a real application: something that takes its time. */
async function loadConfiguration(): Promise<Configuration> {
  await setImmediate();
  return { redis: redisSettings(), digests: { service: 'digests', timeout: 5_000 } };
}

@Module({
  providers: [
    { provide: ConfigService, useFactory: async () => new ConfigService(await loadConfiguration()) },
  ],
  exports: [ConfigService],
})
export class ConfigModule {}
