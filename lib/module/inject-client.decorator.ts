import { Inject } from '@nestjs/common';

/** Injects a client that `RedisStreamsModule.forClients` made: `@InjectRedisStreamsClient('ORDERS') orders: ClientProxy`. The same as `@Inject(name)`. */
export function InjectRedisStreamsClient(name: string | symbol): PropertyDecorator & ParameterDecorator {
  return Inject(name);
}
