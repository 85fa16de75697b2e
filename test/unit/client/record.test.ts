import { expect, test } from '@jest/globals';
import { RedisStreamsRecord, RedisStreamsRecordBuilder } from '../../../lib/client/record.js';
import { ConfigurationError } from '../../../lib/errors.js';

test('a record has the data, headers and settings that it was built with', () => {
  const record = new RedisStreamsRecordBuilder([1])
    .setHeaders({ tenant: 'a' })
    .setTimeout(500)
    .setRestartable()
    .build();
  expect(record).toBeInstanceOf(RedisStreamsRecord);
  expect(record).toEqual({ data: [1], headers: { tenant: 'a' }, timeout: 500, restartable: true });
});

test('all of it may be left out, and data may be set later', () => {
  expect(new RedisStreamsRecordBuilder().build()).toEqual({
    data: undefined,
    headers: undefined,
    timeout: undefined,
    restartable: false,
  });
  expect(new RedisStreamsRecordBuilder().setRestartable().setRestartable(false).build().restartable).toBe(
    false,
  );
  expect(new RedisStreamsRecordBuilder<number>().setData(5).build().data).toBe(5);
});

test('headers are copied, and a later call replaces them', () => {
  const headers: Record<string, string> = { a: '1' };
  const builder = new RedisStreamsRecordBuilder().setHeaders(headers);
  headers['a'] = '2';
  expect(builder.build().headers).toEqual({ a: '1' });
  expect(builder.setHeaders({ b: '1' }).build().headers).toEqual({ b: '1' });
});

test('a record that was built does not change with its builder', () => {
  const builder = new RedisStreamsRecordBuilder(1).setTimeout(5);
  const record = builder.build();
  builder.setData(2).setTimeout(6).setHeaders({ a: 'b' }).setRestartable();
  expect(record).toEqual({ data: 1, headers: undefined, timeout: 5, restartable: false });
});

test.each([null, 'a', ['a'], { a: 1 }, JSON.parse('{"__proto__":"x"}')])(
  'headers may not be %j',
  (headers) => {
    expect(() => new RedisStreamsRecordBuilder().setHeaders(headers as never)).toThrow(ConfigurationError);
  },
);

test.each([0, -1, 1.5, Number.NaN, Infinity, 2 ** 31, '5', null])('a timeout may not be %j', (timeout) => {
  expect(() => new RedisStreamsRecordBuilder().setTimeout(timeout as never)).toThrow(
    /^A record's timeout must be/,
  );
});
