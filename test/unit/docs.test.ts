import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis, type RedisOptions } from 'ioredis';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import * as errors from '../../lib/errors.js';
import { RedisStreamsClient, RedisStreamsServer } from '../../lib/index.js';
import { CLIENT_RULES, DEAD_LETTERS_RULES, LAYOUT_RULES, SERVER_RULES } from '../../lib/options.js';
import {
  ROOT,
  brokenLinks,
  codeBlocks,
  propertyTypes,
  readPage,
  tableUnder,
  typeCheck,
  userPages,
} from '../support/docs.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually } from '../support/wait.js';

type ErrorClass = new (...args: unknown[]) => errors.RedisStreamsError;

/** Rights for what happens when an instance dies, a message fails, or a handler runs long: other tests show their use. */
const RARE = [
  'xclaim',
  'xrange',
  'xlen',
  'exists',
  'pttl',
  'hdel',
  'unlink',
  'zremrangebyscore',
  'xgroup|delconsumer',
  'xinfo|stream',
];

/** Languages of blocks. Code for users is `ts`, so that none escapes the type check. */
const LANGUAGES = ['ts', 'sh', 'text', 'json', 'mermaid'];

describe('code in README.md and docs', () => {
  const blocks = userPages().flatMap(codeBlocks);

  test('compiles, strictly, against this version', () => {
    const code = blocks.filter(({ language }) => language === 'ts');
    expect(code.length).toBeGreaterThan(10);
    expect(typeCheck(code)).toEqual([]);
  }, 60_000);

  test('is marked with a language that is checked, or that is no code of ours', () => {
    expect(blocks.filter(({ language }) => !LANGUAGES.includes(language))).toEqual([]);
  });
});

describe('docs/configuration.md', () => {
  const page = readPage('docs/configuration.md');
  const shared = tableUnder(page, '## Options of servers and clients');
  const server = tableUnder(page, '## Options of servers');
  const client = tableUnder(page, '## Options of clients');

  const documented = {
    server: [...shared, ...server],
    client: [...shared, ...client],
    RedisStreamsDeadLetters: tableUnder(page, '## Options of RedisStreamsDeadLetters'),
    RedisStreamsLayout: tableUnder(page, '## Options of RedisStreamsLayout'),
  };
  const rules = {
    server: SERVER_RULES,
    client: CLIENT_RULES,
    RedisStreamsDeadLetters: DEAD_LETTERS_RULES,
    RedisStreamsLayout: LAYOUT_RULES,
  };
  type Rule = { default?: unknown; fault(value: unknown): string | undefined; isGroup?: boolean };

  const sides = ['server', 'client', 'RedisStreamsDeadLetters', 'RedisStreamsLayout'] as const;

  test.each(sides)('has every option of a %s, and no other', (side) => {
    expect(documented[side].map(({ Option }) => Option).sort()).toEqual(Object.keys(rules[side]).sort());
  });

  test.each(sides)('has the defaults of a %s', (side) => {
    const expected = Object.entries<Rule>(rules[side]).map(([name, rule]) => [name, defaultText(name, rule)]);
    const found = documented[side].map(({ Option, Default }) => [Option, Default]);
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(expected));
  });

  test.each(['server', 'client'] as const)('has the bounds of the numbers of a %s', (side) => {
    const numbers = documented[side].filter(({ Type }) => Type === 'number');
    expect(numbers.length).toBeGreaterThan(3);
    for (const { Option, Allowed } of numbers) {
      const rule: Rule = (rules[side] as Record<string, Rule>)[Option!]!;
      const [min = NaN, max = NaN] = Allowed!.split(' to ').map((text) => Number(text.replaceAll(',', '')));
      const isAllowed = [min - 1, min, max, max + 1].map((value) => rule.fault(value) === undefined);
      expect({ Option, isAllowed }).toEqual({ Option, isAllowed: [false, true, true, false] });
    }
  });

  test('has the options of an event handler, with their types', () => {
    const rows = tableUnder(page, '### Options of event handlers').map(({ Option, Type }) => [Option, Type]);
    const types = propertyTypes('lib/handler-options.ts', 'EventHandlerOptions');
    expect(Object.fromEntries(rows)).toEqual(Object.fromEntries(types));
  });

  test.each([
    ['RedisStreamsConnectionOptions', shared],
    ['RedisStreamsServerOptions', server],
    ['RedisStreamsClientOptions', client],
  ])('has the types of %s', (name, rows) => {
    const found = rows.map(({ Option, Type }) => [Option, Type]);
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(propertyTypes('lib/options.ts', name)));
  });

  function defaultText(name: string, rule: Rule): string {
    if (name === 'connection') {
      // Not in the rules: it depends on the environment.
      return 'REDIS_URL, else redis://localhost:6379';
    }
    switch (typeof rule.default) {
      case 'undefined':
        return 'none';
      case 'number':
        return rule.default.toLocaleString('en-US');
      case 'string':
        return `'${rule.default}'`;
      default:
        return rule.isGroup ? JSON.stringify(rule.default) : (rule.default as object).constructor.name;
    }
  }
});

describe('the rights in docs/configuration.md', () => {
  const users = new Map(
    codeBlocks(readPage('docs/configuration.md'))
      .flatMap(({ code }) => code.split('\n'))
      .filter((line) => line.startsWith('user '))
      .map((line) => line.split(' '))
      .map(([, name = '', ...rules]) => [name, rules]),
  );
  let redis: RedisServer;
  let admin: Redis;
  beforeAll(async () => {
    redis = await RedisServer.start();
    admin = new Redis(redis.url);
    for (const [name, rules] of users) {
      await admin.call('ACL', 'SETUSER', name, ...rules);
    }
    // Optional, and without it closing waits until BLOCK has run out.
    await admin.call('ACL', 'SETUSER', 'orders-server', '+client|id', '+client|unblock');
    await admin.config('RESETSTAT');
  });
  afterAll(async () => {
    admin.disconnect();
    await redis.stop();
  });

  test('are enough for a request and an event, and hold nothing that is not needed', async () => {
    const server = new RedisStreamsServer({ connection: connectionOf('orders-server'), service: 'orders' });
    const client = new RedisStreamsClient({ connection: connectionOf('orders-client'), service: 'orders' });
    const created = deferred<unknown>();
    server.addHandler('price', (amount) => Promise.resolve(Number(amount) * 2));
    server.addHandler('created', (event) => Promise.resolve(created.resolve(event)), true);
    try {
      await new Promise<void>((resolve, reject) => {
        server.listen((error) => (error ? reject(error) : resolve()));
      });
      await expect(firstValueFrom(client.send('price', 21))).resolves.toBe(42);
      await lastValueFrom(client.emit('created', 'a'), { defaultValue: undefined });
      await expect(created.promise).resolves.toBe('a');
      await eventually(
        async () => (await unusedRights()).length === 0,
        'every command of the least rights is used',
      ).catch(async (error: unknown) => {
        throw new Error(`Not used: ${(await unusedRights()).join(', ')}`, { cause: error });
      });
    } finally {
      await client.close();
      await server.close();
    }
  });

  async function unusedRights(): Promise<string[]> {
    const used = await admin.info('commandstats');
    const commands = [...users.values()]
      .flat()
      .filter((rule) => rule.startsWith('+') && !RARE.includes(rule.slice(1)));
    return commands.filter((rule) => !used.includes(`cmdstat_${rule.slice(1)}:`));
  }

  function connectionOf(username: string): RedisOptions {
    const password = users
      .get(username)!
      .find((rule) => rule.startsWith('>'))!
      .slice(1);
    // Without INFO, ioredis' own check would only write a warning.
    return { host: '127.0.0.1', port: redis.port, username, password, enableReadyCheck: false };
  }
});

test('docs/errors.md has every error class with its code, and no other', () => {
  const isError = (value: { prototype: unknown }): boolean =>
    value.prototype instanceof errors.RedisStreamsError;
  const classes = Object.values(errors).filter(isError) as unknown as ErrorClass[];
  const codes = classes.map((Class) => [Class.name, new Class('x', { cause: new Error() }, 1).code]);
  const found = tableUnder(readPage('docs/errors.md'), '## Error classes').map(({ Class, Code }) => [
    Class,
    Code,
  ]);
  expect(Object.fromEntries(found)).toEqual(Object.fromEntries(codes));
  expect(found).toHaveLength(classes.length);
});

test('links lead to files and headings that are there', () => {
  const pages = [...userPages(), readPage('CONTRIBUTING.md'), readPage('CHANGELOG.md')];
  expect(pages.flatMap((page) => brokenLinks(page, (path) => existsSync(join(ROOT, path))))).toEqual([]);
});
