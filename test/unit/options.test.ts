import { describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { ConfigurationError } from '../../lib/errors.js';
import { resolveHandlerOptions } from '../../lib/handler-options.js';
import {
  assertTimeout,
  CLIENT_RULES,
  MODULE_RULES,
  pickOptions,
  resolveClientOptions,
  resolveModuleOptions,
  resolveServerOptions,
  SERVER_RULES,
} from '../../lib/options.js';
import { JSON_CODEC, JsonCodec } from '../../lib/protocol/json.codec.js';
import { MsgpackCodec } from '../../lib/protocol/msgpack.codec.js';

const resolvers = {
  RedisStreamsServer: resolveServerOptions,
  RedisStreamsClient: resolveClientOptions,
  RedisStreamsModule: resolveModuleOptions,
} as Record<string, (options: object) => object>;
const rules: Record<string, object> = {
  RedisStreamsServer: SERVER_RULES,
  RedisStreamsClient: CLIENT_RULES,
  RedisStreamsModule: MODULE_RULES,
};
const owners = Object.keys(resolvers);

/** The message of the error that these options lead to. */
function faultOf(owner: string, options: unknown): string {
  try {
    resolvers[owner]!(options as object);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    return (error as Error).message;
  }
  throw new Error(`${owner} took ${JSON.stringify(options)}`);
}

/** Those that have the option, of server, client and module. */
function ownersOf(option: string): string[] {
  return owners.filter((owner) => Object.hasOwn(rules[owner]!, option));
}

const connectionDefaults = {
  connection: undefined,
  namespace: 'nest',
  shards: 1,
  connectTimeout: 10_000,
  codec: JSON_CODEC,
  maxPayloadBytes: 8 * 1024 * 1024,
  serializer: undefined,
  deserializer: undefined,
  service: undefined,
};
const serverDefaults = {
  concurrency: 128,
  eventConcurrency: 64,
  acknowledge: 'after-handler',
  shutdownTimeout: 10_000,
  lease: 10_000,
  retry: { maxDeliveries: 5, backoff: { type: 'exponential', base: 1_000, max: 60_000 } },
  maxWaitingRetries: 1_000,
  deadLetters: { maxLength: 100_000, stack: false },
  maxReplyBacklog: 10_000,
  forgetAfter: 7 * 24 * 3_600_000,
};
const clientDefaults = { timeout: 30_000, maxQueued: 10_000, maxLength: 1_000_000, whenFull: 'fail' };

describe('defaults', () => {
  test('of a server', () => {
    expect(resolveServerOptions({})).toEqual({ ...connectionDefaults, ...serverDefaults });
  });

  test('of a client', () => {
    expect(resolveClientOptions({})).toEqual({ ...connectionDefaults, ...clientDefaults });
  });

  test('of a module: both', () => {
    expect(resolveModuleOptions({})).toEqual({ ...connectionDefaults, ...serverDefaults, ...clientDefaults });
  });

  test('undefined is as good as nothing', () => {
    const all = Object.fromEntries(Object.keys(MODULE_RULES).map((name) => [name, undefined]));
    expect(resolveModuleOptions(all)).toEqual(resolveModuleOptions({}));
  });

  test('the options that were given are left as they were', () => {
    const given = Object.freeze({ service: 'a' });
    expect(resolveServerOptions(given)).not.toBe(given);
  });
});

const wholeNumbers: [option: string, min: number, max: number][] = [
  ['connectTimeout', 1, 2 ** 31 - 1],
  ['maxPayloadBytes', 1, 512 * 1024 * 1024],
  ['concurrency', 1, 100_000],
  ['eventConcurrency', 1, 100_000],
  ['shutdownTimeout', 0, 2 ** 31 - 1],
  ['lease', 300, 3_600_000],
  ['maxWaitingRetries', 1, 1_000_000],
  ['maxReplyBacklog', 1, 10_000_000],
  ['forgetAfter', 1_000, Number.MAX_SAFE_INTEGER],
  ['timeout', 1, 2 ** 31 - 1],
  ['maxQueued', 0, 10_000_000],
  ['maxLength', 1, Number.MAX_SAFE_INTEGER],
];

describe.each(wholeNumbers)('%s', (option, min, max) => {
  test(`may be anything from ${min} to ${max}`, () => {
    for (const owner of ownersOf(option)) {
      for (const value of [min, min + 1, max - 1, max]) {
        expect(resolvers[owner]!({ [option]: value })).toMatchObject({ [option]: value });
      }
    }
  });

  test.each([
    ['too small', min - 1, String(min - 1)],
    ['too large', max + 1, String(max + 1)],
    ['broken', min + 0.5, String(min + 0.5)],
    ['NaN', Number.NaN, 'NaN'],
    ['Infinity', Infinity, 'Infinity'],
    ['a text', '5', "'5'"],
    ['null', null, 'null'],
    ['a boolean', true, 'true'],
    ['an object', {}, 'an object'],
    ['a list', [5], 'an object'],
  ])('is refused when it is %s', (_, value, shown) => {
    for (const owner of ownersOf(option)) {
      const fault = faultOf(owner, { [option]: value });
      expect(fault).toContain(`Option '${option}' of ${owner} must be a whole number from ${min} to ${max} `);
      expect(fault).toMatch(new RegExp(`, not ${shown.replace('+', '\\+')}\\.$`));
    }
  });
});

describe.each(['namespace', 'service'])('%s', (option) => {
  test.each(['a', 'a:b', 'orders.v2', 'bestellungen-ü', 'x'.repeat(128), '__proto__', '*'])(
    'may be %j',
    (value) => {
      for (const owner of owners) {
        expect(resolvers[owner]!({ [option]: value })).toMatchObject({ [option]: value });
      }
    },
  );

  test.each([
    ['', "''"],
    ['a b', "'a b'"],
    ['a\n', "'a\n'"],
    ['a\tb', "'a\tb'"],
    ['\u00a0', "'\u00a0'"],
    ['{a}', "'{a}'"],
    ['a}', "'a}'"],
    ['x'.repeat(129), `'${'x'.repeat(100)}'`],
    [null, 'null'],
    [5, '5'],
    [['a'], 'an object'],
  ])('is refused when it is %j', (value, shown) => {
    for (const owner of owners) {
      expect(faultOf(owner, { [option]: value })).toBe(
        `Option '${option}' of ${owner} must be 1 to 128 characters without white space and braces, not ${shown}.`,
      );
    }
  });
});

describe('acknowledge', () => {
  test.each(['after-handler', 'on-receipt', 'manual'])('may be %s', (acknowledge) => {
    expect(resolveServerOptions({ acknowledge } as object)).toMatchObject({ acknowledge });
  });

  test.each([
    ['after', "'after'"],
    ['', "''"],
    [null, 'null'],
    [true, 'true'],
  ])('is refused when it is %j', (value, shown) => {
    expect(faultOf('RedisStreamsServer', { acknowledge: value })).toBe(
      `Option 'acknowledge' of RedisStreamsServer must be one of 'after-handler', 'on-receipt', 'manual', not ${shown}.`,
    );
  });
});

describe('retry', () => {
  const standard = { type: 'exponential', base: 1_000, max: 60_000 };
  test.each<[object, object]>([
    [{}, { maxDeliveries: 5, backoff: standard }],
    [{ maxDeliveries: 1 }, { maxDeliveries: 1, backoff: standard }],
    [{ maxDeliveries: undefined }, { maxDeliveries: 5, backoff: standard }],
    [{ backoff: { type: 'fixed', delay: 5 } }, { maxDeliveries: 5, backoff: { type: 'fixed', delay: 5 } }],
  ])('%j becomes %j', (given, expected) => {
    expect(resolveServerOptions({ retry: given })).toMatchObject({ retry: expected });
    expect(resolveHandlerOptions({ retry: given }, resolveServerOptions({}), 'p').retry).toEqual(expected);
  });

  test('what a handler leaves open is as for its service', () => {
    const { retry } = resolveServerOptions({ retry: { maxDeliveries: 9 } });
    expect(
      resolveHandlerOptions({ retry: { backoff: { type: 'fixed', delay: 5 } } }, { retry }, 'p').retry,
    ).toEqual({
      maxDeliveries: 9,
      backoff: { type: 'fixed', delay: 5 },
    });
  });

  test.each<[unknown, string]>([
    [5, 'must be an object, not 5'],
    [null, 'must be an object, not null'],
    [{ max: 5 }, "has no setting 'max'. Its settings are: maxDeliveries, backoff"],
    [{ maxDeliveries: 0 }, ": 'maxDeliveries' must be a whole number from 1 to 1000000 deliveries, not 0"],
    [
      { backoff: 5 },
      ": 'backoff' must be { type: 'exponential', base, max }, { type: 'fixed', delay } or a function, not 5",
    ],
    [{ backoff: { type: 'fixed' } }, ": 'backoff' needs 'delay'"],
    [{ backoff: { type: 'exponential', base: 1 } }, ": 'backoff' needs 'max'"],
    [
      { backoff: { type: 'fixed', delay: 5, max: 3 } },
      ": 'backoff' has no setting 'max'. Its settings are: delay",
    ],
    [
      { backoff: { type: 'fixed', delay: 0 } },
      ": 'backoff' 'delay' must be a whole number from 1 to 2147483647 milliseconds, not 0",
    ],
  ])('%j is refused', (retry, fault) => {
    expect(faultOf('RedisStreamsServer', { retry })).toBe(`Option 'retry' of RedisStreamsServer ${fault}.`);
    expect(() => resolveHandlerOptions({ retry }, resolveServerOptions({}), 'p')).toThrow(
      `Option 'retry' of the handler of 'p' ${fault}.`,
    );
  });
});

describe('deadLetters', () => {
  test('each setting has a default of its own', () => {
    expect(resolveServerOptions({ deadLetters: { stack: true } })).toMatchObject({
      deadLetters: { maxLength: 100_000, stack: true },
    });
  });

  test.each<[unknown, string]>([
    [{ maxLength: 0 }, ": 'maxLength' must be a whole number from 1 to 100000000 entries, not 0"],
    [{ stack: 'yes' }, ": 'stack' must be true or false, not 'yes'"],
    [[], 'must be an object, not a list'],
  ])('%j is refused', (deadLetters, fault) => {
    expect(faultOf('RedisStreamsServer', { deadLetters })).toBe(
      `Option 'deadLetters' of RedisStreamsServer ${fault}.`,
    );
  });
});

describe('whenFull', () => {
  test('may be drop-oldest, and nothing unknown', () => {
    expect(resolveClientOptions({ whenFull: 'drop-oldest' })).toMatchObject({ whenFull: 'drop-oldest' });
    expect(faultOf('RedisStreamsClient', { whenFull: 'drop' })).toBe(
      "Option 'whenFull' of RedisStreamsClient must be one of 'fail', 'drop-oldest', not 'drop'.",
    );
  });
});

describe('connection', () => {
  const redis = new Redis({ lazyConnect: true });
  test.each([
    ['a URL', 'redis://localhost'],
    ['options', { port: 1 }],
    ['an instance', redis],
    ['a function', () => redis],
  ])('may be %s', (_, connection) => {
    for (const owner of owners) {
      expect(resolvers[owner]!({ connection })).toHaveProperty('connection', connection);
    }
  });

  test.each([
    [null, 'null'],
    [6379, '6379'],
    [false, 'false'],
  ])('is refused when it is %j', (connection, shown) => {
    for (const owner of owners) {
      expect(faultOf(owner, { connection })).toBe(
        `Option 'connection' of ${owner} must be a URL, ioredis options, an ioredis instance or a function that makes one, not ${shown}.`,
      );
    }
  });
});

describe('codec', () => {
  const own = { name: 'own-2', encode: () => '', decode: () => undefined };
  test.each([new JsonCodec(), new MsgpackCodec(), own])('may be any Codec', (codec) => {
    for (const owner of owners) {
      expect(resolvers[owner]!({ codec })).toHaveProperty('codec', codec);
    }
  });

  const rule = 'must be a Codec: { name: [a-z0-9-]{1,32}, encode(value), decode(bytes) }';
  test.each([
    ['null', null, 'null'],
    ['a name', 'json', "'json'"],
    ['a class', MsgpackCodec, 'a function'],
  ])('is refused when it is %s, which the error repeats', (_, codec, shown) => {
    for (const owner of owners) {
      expect(faultOf(owner, { codec })).toBe(`Option 'codec' of ${owner} ${rule}, not ${shown}.`);
    }
  });

  test.each([
    ['no name', { ...own, name: undefined }],
    ['capitals in its name', { ...own, name: 'JSON' }],
    ['an empty name', { ...own, name: '' }],
    ['a long name', { ...own, name: 'x'.repeat(33) }],
    ['a newline in its name', { ...own, name: 'own\n' }],
    ['no encode()', { ...own, encode: undefined }],
    ['something else as its decode()', { ...own, decode: 'no' }],
  ])('is refused when it has %s', (_, codec) => {
    for (const owner of owners) {
      expect(faultOf(owner, { codec })).toContain(`Option 'codec' of ${owner} ${rule}`);
    }
  });
});

describe.each([
  ['serializer', 'serialize'],
  ['deserializer', 'deserialize'],
])('%s', (option, method) => {
  test('may be anything that has the method', () => {
    const value = { [method]: () => undefined };
    for (const owner of owners) {
      expect(resolvers[owner]!({ [option]: value })).toHaveProperty(option, value);
    }
  });

  test.each([
    ['null', null, 'null'],
    ['a name', 'json', "'json'"],
    ['a function', () => undefined, 'a function'],
  ])('is refused when it is %s, which the error repeats', (_, value, shown) => {
    for (const owner of owners) {
      expect(faultOf(owner, { [option]: value })).toBe(
        `Option '${option}' of ${owner} must be an object with a method ${method}(), not ${shown}.`,
      );
    }
  });

  test.each([
    ['nothing', {}],
    ['something else', { [method]: 1 }],
  ])('is refused when it has %s as its method', (_, value) => {
    for (const owner of owners) {
      expect(faultOf(owner, { [option]: value })).toContain(
        `Option '${option}' of ${owner} must be an object with a method ${method}()`,
      );
    }
  });
});

describe('unknown options', () => {
  test.each(owners)('%s names the option and those that there are', (owner) => {
    for (const name of ['timeuot', 'constructor', 'toString', '__proto__']) {
      const fault = faultOf(owner, JSON.parse(`{"${name}":1}`));
      expect(fault).toBe(
        `${owner} has no option '${name}'. Its options are: ${Object.keys(rules[owner]!).join(', ')}.`,
      );
    }
  });

  test('are refused even when they are undefined', () => {
    expect(faultOf('RedisStreamsClient', { timeuot: undefined })).toContain("no option 'timeuot'");
  });

  test("a client does not take a server's options, nor a server a client's", () => {
    for (const name of Object.keys(serverDefaults)) {
      expect(faultOf('RedisStreamsClient', { [name]: 1 })).toContain(`no option '${name}'`);
    }
    for (const name of Object.keys(clientDefaults)) {
      expect(faultOf('RedisStreamsServer', { [name]: 1 })).toContain(`no option '${name}'`);
    }
  });
});

test.each([
  [null, 'null'],
  ['redis://', "'redis://'"],
  [5, '5'],
  [undefined, 'undefined'],
])('%j instead of options is refused', (options, shown) => {
  for (const owner of owners) {
    expect(faultOf(owner, options)).toBe(`${owner} takes an object of options, not ${shown}.`);
  }
});

test('the timeout of a record follows the same rule, and the error says that it was the record', () => {
  expect(() => assertTimeout(1)).not.toThrow();
  expect(() => assertTimeout(0)).toThrow(ConfigurationError);
  expect(() => assertTimeout('5')).toThrow(
    `A record's timeout must be a whole number from 1 to ${2 ** 31 - 1} milliseconds, not '5'.`,
  );
});

test('options are picked by the rules that know them', () => {
  const options = { service: 'a', concurrency: 1, timeout: 2 };
  expect(pickOptions(options, SERVER_RULES)).toEqual({ service: 'a', concurrency: 1 });
  expect(pickOptions(options, CLIENT_RULES)).toEqual({ service: 'a', timeout: 2 });
});
