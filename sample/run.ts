import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { InterruptedError, onInterruption } from './support/interruption.js';
import { messageOf } from './support/message-of.js';
import { openSampleCluster } from './support/sample-cluster.js';
import { openSampleRedis } from './support/sample-redis.js';
import {
  environmentFor,
  type ClusterSettings,
  type Closable,
  type RedisSettings,
} from './support/settings.js';

const USAGE_EXIT_CODE = 2;

/** Those that need a cluster. */
const ON_A_CLUSTER = ['10-cluster'];

type Opened = (RedisSettings | ClusterSettings) & Closable;

/** Finds a Redis for a sample, runs the sample as a process of its own, and tidies up when it has ended. */
async function run(name: string): Promise<number> {
  const interruption = onInterruption();
  const say = (line: string): void => console.log(line);
  let redis: Opened | undefined;
  try {
    redis = ON_A_CLUSTER.includes(name)
      ? await openSampleCluster(say, interruption)
      : await openSampleRedis(name, say);
    interruption.throwIfAborted();
    return await runSample(name, redis, interruption);
  } catch (error) {
    if (interruption.reason instanceof InterruptedError) {
      return interruption.reason.exitCode;
    }
    console.error(messageOf(error));
    return 1;
  } finally {
    await redis?.close();
  }
}

async function runSample(name: string, redis: Opened, interruption: AbortSignal): Promise<number> {
  const sample = fork(join(import.meta.dirname, name, 'main.js'), { env: environmentFor(redis) });
  const end = (): void => void sample.kill('SIGKILL');
  interruption.addEventListener('abort', end);
  const [code] = (await once(sample, 'exit')) as [number | null];
  interruption.removeEventListener('abort', end);
  interruption.throwIfAborted();
  return code ?? 1;
}

function samples(): string[] {
  return readdirSync(import.meta.dirname)
    .filter((entry) => /^\d\d-[\w-]+$/.test(entry))
    .sort();
}

const [name = ''] = process.argv.slice(2);
if (samples().includes(name)) {
  process.exitCode = await run(name);
} else {
  console.error(`Which sample? npm run sample <name>, with one of: ${samples().join(', ')}`);
  process.exitCode = USAGE_EXIT_CODE;
}
