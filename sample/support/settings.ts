/** What a sample needs to know of its Redis. */
export interface RedisSettings {
  connection: string;
  namespace: string;
}

/** What the launcher has put into the environment of a sample's process. */
export function redisSettings(): RedisSettings {
  const { REDIS_URL: connection, SAMPLE_NAMESPACE: namespace } = process.env;
  if (!connection || !namespace) {
    throw new Error(
      'REDIS_URL and SAMPLE_NAMESPACE are not set. Start samples by "npm run sample <name>": it takes care of Redis.',
    );
  }
  return { connection, namespace };
}

/** The environment from which `redisSettings()` reads these, in another process. */
export function environmentFor({ connection, namespace }: RedisSettings): NodeJS.ProcessEnv {
  return {
    ...process.env,
    REDIS_URL: connection,
    SAMPLE_NAMESPACE: namespace,
    // Nest colours its log lines unless told otherwise; in a file they are noise.
    ...(process.stdout.isTTY ? {} : { NO_COLOR: '1' }),
  };
}
