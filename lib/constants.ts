/**
 * The transport id of this package: `@MessagePattern('sum', REDIS_STREAMS)` binds a handler to this transport
 * alone, in an application that serves several. From the global registry, so that the ESM and the CommonJS
 * build of this package agree on it.
 */
export const REDIS_STREAMS = Symbol.for('nestjs-redis-streams');
