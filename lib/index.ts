export { RedisStreamsDeadLetters } from './admin/dead-letters.js';
export type * from './admin/dead-letters.interface.js';
export { RedisStreamsLayout } from './admin/layout.js';
export type * from './admin/layout.interface.js';
export { RedisStreamsClient } from './client/redis-streams.client.js';
export { RedisStreamsRecord, RedisStreamsRecordBuilder } from './client/record.js';
export { REDIS_STREAMS } from './constants.js';
export * from './errors.js';
export type { EventHandlerOptions } from './handler-options.js';
export { RedisStreamsHooks } from './hooks.js';
export type { MessageReport, RedisStreamsReports, ReportListener, ReportName } from './hooks.js';
export { InjectRedisStreamsClient } from './module/inject-client.decorator.js';
export type * from './module/redis-streams-module-options.interface.js';
export { REDIS_STREAMS_MODULE_OPTIONS } from './module/redis-streams.constants.js';
export { RedisStreamsModule } from './module/redis-streams.module.js';
export type {
  AcknowledgeMode,
  Backoff,
  DeadLetterOptions,
  RedisStreamsClientOptions,
  RedisStreamsConnectionOptions,
  RedisStreamsDeadLettersOptions,
  RedisStreamsLayoutOptions,
  RedisStreamsServerOptions,
  RetryOptions,
  WhenFull,
} from './options.js';
export type { Codec } from './protocol/codec.js';
export type { DeadLetterReason } from './protocol/dead-letter.js';
export type { MessageHeaders } from './protocol/entry.js';
export { JsonCodec } from './protocol/json.codec.js';
export { MsgpackCodec } from './protocol/msgpack.codec.js';
export type { Payload } from './protocol/payload.js';
export type { ClusterConnectionOption } from './redis/cluster/cluster-option.js';
export type { RedisConnectionOption } from './redis/connection-factory.js';
export type { RedisStreamsEvents, RedisStreamsStatus } from './redis/transport-events.js';
export { RedisStreamsContext } from './server/context.js';
export { RedisStreamsExceptionFilter } from './server/exception-filter.js';
export { DeadLetter, RetryLater, isDeadLetter, isRetryLater } from './server/outcomes.js';
export { RedisStreamsServer } from './server/redis-streams.server.js';
