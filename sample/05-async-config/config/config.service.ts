import type { RedisSettings } from '../../support/settings.js';

/** What the configuration of a real application would hold beside much else. */
export interface Configuration {
  redis: RedisSettings;
  digests: { service: string; timeout: number };
}

export class ConfigService {
  constructor(private readonly configuration: Configuration) {}

  get redis(): RedisSettings {
    return this.configuration.redis;
  }

  get digests(): Configuration['digests'] {
    return this.configuration.digests;
  }
}
