/** The token of the options that `forRoot` or `forRootAsync` was given. */
export const REDIS_STREAMS_MODULE_OPTIONS = Symbol.for('nestjs-redis-streams:module-options');
