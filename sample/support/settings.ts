/** What a sample needs to know of its Redis. */
export interface RedisSettings {
  connection: string;
  namespace: string;
}

/** What a sample needs to know of its cluster. */
export interface ClusterSettings {
  connection: { cluster: { nodes: string[] } };
  namespace: string;
}

/** What the launcher has opened, and has to leave. */
export interface Closable {
  close(): Promise<void>;
}

/** What the launcher has put into the environment of a sample's process. */
export function redisSettings(): RedisSettings {
  const { REDIS_URL: connection, SAMPLE_NAMESPACE: namespace } = process.env;
  if (!connection || !namespace) {
    throw notLaunched('REDIS_URL');
  }
  return { connection, namespace };
}

/** The same, for a sample that works on a cluster. */
export function clusterSettings(): ClusterSettings {
  const { SAMPLE_CLUSTER: nodes, SAMPLE_NAMESPACE: namespace } = process.env;
  if (!nodes || !namespace) {
    throw notLaunched('SAMPLE_CLUSTER');
  }
  return { connection: { cluster: { nodes: nodes.split(',') } }, namespace };
}

/** The environment from which these are read, in another process. */
export function environmentFor({
  connection,
  namespace,
}: RedisSettings | ClusterSettings): NodeJS.ProcessEnv {
  return {
    ...process.env,
    ...(typeof connection === 'string'
      ? { REDIS_URL: connection }
      : { SAMPLE_CLUSTER: connection.cluster.nodes.join(',') }),
    SAMPLE_NAMESPACE: namespace,
    // Nest colours its log lines unless told otherwise; in a file they are noise.
    ...(process.stdout.isTTY ? {} : { NO_COLOR: '1' }),
  };
}

function notLaunched(name: string): Error {
  return new Error(
    `${name} and SAMPLE_NAMESPACE are not set. Start samples by "npm run sample <name>": it takes care of Redis.`,
  );
}
