import {
  ClientProxyFactory,
  Transport,
  type ClientProxy,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { RedisStreamsClient, RedisStreamsServer } from 'nestjs-redis-streams';

/** The transports that are compared. */
export const SYSTEMS = ['redis-streams', 'nest-redis'] as const;
export type System = (typeof SYSTEMS)[number];

const SERVICE = 'bench';

/** What a microservice of this transport is made with. */
export function serverOptions(system: System, port: number): MicroserviceOptions {
  switch (system) {
    case 'redis-streams':
      return { strategy: new RedisStreamsServer({ connection: url(port), service: SERVICE }) };
    case 'nest-redis':
      return { transport: Transport.REDIS, options: { host: '127.0.0.1', port } };
  }
}

/** A client of this transport. */
export function createClient(system: System, port: number): ClientProxy {
  switch (system) {
    case 'redis-streams':
      return new RedisStreamsClient({ connection: url(port), service: SERVICE });
    case 'nest-redis':
      return ClientProxyFactory.create({ transport: Transport.REDIS, options: { host: '127.0.0.1', port } });
  }
}

function url(port: number): string {
  return `redis://127.0.0.1:${port}`;
}
