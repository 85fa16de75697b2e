import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { firstValueFrom } from 'rxjs';
import { closeAll, connect, inspect, onClose } from '../support/app.js';
import { CompiledScripts, type RunningScript } from '../support/child-process.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

const INBOX = '{nest:0}:inbox:child';

let redis: RedisServer;
let scripts: CompiledScripts;
beforeAll(async () => {
  [redis, scripts] = await Promise.all([RedisServer.start(), CompiledScripts.make()]);
});
beforeEach(async () => {
  await inspect(redis.url).flushall();
});
afterEach(closeAll);
afterAll(async () => {
  scripts.remove();
  await redis.stop();
});

async function startService(...args: string[]): Promise<RunningScript> {
  const service = scripts.run('service', redis.url, ...args);
  onClose(() => service.end('SIGKILL'));
  await service.says('listening');
  return service;
}

const pending = async (): Promise<number> =>
  ((await inspect(redis.url).xpending(INBOX, 'child')) as [number])[0];

test.each([['microservice'], ['hybrid']])(
  'SIGTERM lets a %s finish what it handles, whose reply arrives before it ends',
  async (kind) => {
    const service = await startService(kind);
    const answer = firstValueFrom(connect({ connection: redis.url, service: 'child' }).send('slow', 300));
    await service.says('handling');
    const ended = service.end('SIGTERM');
    await expect(answer).resolves.toBe('done');
    await expect(ended).resolves.toEqual({ code: null, signal: 'SIGTERM' });
    expect(service.output).toMatch(/shutting down by SIGTERM[^]*shut down/);
    expect(service.output).toContain('handled');
    await expect(pending()).resolves.toBe(0);
    await expect(inspect(redis.url).xlen(INBOX)).resolves.toBe(0);
  },
);

test('a killed process leaves its request pending in Redis, where it is not lost', async () => {
  const service = await startService();
  const client = connect({ connection: redis.url, service: 'child' });
  client.send('slow', 60_000).subscribe({ error: () => undefined });
  await service.says('handling');
  await service.end('SIGKILL');
  await expect(pending()).resolves.toBe(1);
  const look = inspect(redis.url);
  await expect(look.xlen(INBOX)).resolves.toBe(1);
  // Who had it is on record, for whoever takes it over.
  const [[, consumer]] = (await look.xpending(INBOX, 'child', '-', '+', 1)) as [[string, string]];
  await eventually(
    async () => (await look.hexists('{nest:0}:instances:child', consumer)) === 1,
    'the instance',
  );
});
