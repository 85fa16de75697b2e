import { firstValueFrom } from 'rxjs';
import { childSetup, cpuMicros, type RunOrder, type RunResult } from './messages.js';
import { createClient } from './systems.js';

const { system, port } = childSetup();
const client = createClient(system, port);
await client.connect();

/** One caller: asks again as soon as it has been answered, and checks every answer. */
async function caller(until: number): Promise<number> {
  let requests = 0;
  while (performance.now() < until) {
    const a = requests++;
    const sum = await firstValueFrom(client.send<number>('sum', { a, b: 7 }));
    if (sum !== a + 7) {
      throw new Error(`Wrong answer: ${sum} instead of ${a + 7}`);
    }
  }
  return requests;
}

async function run({ inFlight, seconds }: RunOrder): Promise<RunResult> {
  const cpu = cpuMicros();
  const start = performance.now();
  const counts = await Promise.all(Array.from({ length: inFlight }, () => caller(start + seconds * 1000)));
  return {
    requests: counts.reduce((a, b) => a + b, 0),
    seconds: (performance.now() - start) / 1000,
    cpu: cpuMicros() - cpu,
  };
}

process.on('message', (order: RunOrder) => {
  run(order).then(
    (result) => process.send?.(result),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => process.exit());
process.send?.('ready');
