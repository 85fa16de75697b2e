import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { CompiledLib } from '../support/compiled.js';
import { freePort, RedisServer } from '../support/redis-server.js';

let redis: RedisServer;
let lib: CompiledLib;
beforeAll(async () => {
  lib = new CompiledLib();
  redis = await RedisServer.start();
});
afterAll(async () => {
  lib.remove();
  await redis.stop();
});

const HEAD = `
import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { RedisStreamsClient, RedisStreamsServer } from './lib/index.js';
Logger.overrideLogger(false);
const connection = process.argv[2];
const failed = (error) => console.log(error.code);
`;

/** More than any timer of ours that could hold the process, except those of pending requests. */
const WITHIN_MS = 15_000;

test.each<[string, string, string]>([
  [
    'a request and an event',
    `const server = new RedisStreamsServer({ connection, service: 'echo' });
     server.addHandler('echo', async (data) => data);
     await new Promise((resolve, reject) => server.listen((error) => (error ? reject(error) : resolve())));
     const client = new RedisStreamsClient({ connection, service: 'echo' });
     console.log(await firstValueFrom(client.send('echo', 'answered')));
     await lastValueFrom(client.emit('noted', 1));
     await client.close();
     await server.close();
     console.log('closed');`,
    'answered\nclosed\n',
  ],
  [
    'a request that was still pending',
    `const client = new RedisStreamsClient({ connection, service: 'nobody' });
     const pending = firstValueFrom(client.send('echo', 1)).catch(failed);
     await client.connect();
     await lastValueFrom(client.emit('noted', 1));
     await client.close();
     await pending;
     console.log('closed');`,
    'CONNECTION_CLOSED\nclosed\n',
  ],
  [
    'an event that nobody waited for',
    `const client = new RedisStreamsClient({ connection });
     client.emit('noted', 1);
     await client.close();
     console.log('closed');`,
    'closed\n',
  ],
])('a process ends by itself after close(): %s', async (_, script, output) => {
  await expect(lib.run(HEAD + script, redis.url, WITHIN_MS)).resolves.toEqual({ code: 0, output });
});

test('a process ends by itself when a client was made and never used', async () => {
  const script = `new RedisStreamsClient({ connection }); new RedisStreamsServer({ connection, service: 'echo' });`;
  await expect(lib.run(HEAD + script, redis.url, WITHIN_MS)).resolves.toEqual({ code: 0, output: '' });
});

test('a process ends by itself when its client could not connect', async () => {
  const script = `
    const client = new RedisStreamsClient({ connection, connectTimeout: 200 });
    await client.connect().catch(failed);
    await lastValueFrom(client.emit('noted', 1)).catch(failed);`;
  const away = `redis://127.0.0.1:${await freePort()}`;
  await expect(lib.run(HEAD + script, away, WITHIN_MS)).resolves.toEqual({
    code: 0,
    output: 'CONNECT\nCONNECT\n',
  });
});
