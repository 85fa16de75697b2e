import { InterruptedError, onInterruption } from '../support/interruption.js';
import { messageOf } from '../support/message-of.js';
import { openSampleRedis } from '../support/sample-redis.js';
import { Run } from './support/run.js';
import { summarize } from './support/summary.js';

const REQUESTS = 2_000;
const PARALLEL = 32;

/** Resolves with whether everything went as it should. */
async function demo(interruption: AbortSignal): Promise<boolean> {
  const redis = await openSampleRedis('demo', (line) => console.log(line));
  const run = new Run(redis, REQUESTS, interruption);
  try {
    const url = await run.start();
    console.log(`Sending ${REQUESTS} requests to ${url}, ${PARALLEL} at a time`);
    const start = performance.now();
    await run.send(url, PARALLEL);
    console.log(summarize(run.ledger, performance.now() - start));
  } finally {
    await run.stop();
    await redis.close();
  }
  return run.isRight;
}

const interruption = onInterruption();
try {
  process.exitCode = (await demo(interruption)) ? 0 : 1;
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
if (interruption.reason instanceof InterruptedError) {
  process.exitCode = interruption.reason.exitCode;
}
