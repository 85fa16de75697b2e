import { expect, test } from '@jest/globals';
import { Keys } from '../../../lib/redis/keys.js';
import { Streams } from '../../../lib/server/streams.js';

const keys = new Keys('nest');

test('the inbox and the topics of its patterns are read from the start', () => {
  const streams = new Streams(keys, 'orders', ['a', 'b']);
  expect(streams.topics).toEqual([keys.topic('a'), keys.topic('b')]);
  expect(streams.all).toEqual([keys.inbox('orders'), ...streams.topics]);
  expect(streams.patternOf(keys.topic('a'))).toBe('a');
  expect(streams.patternOf(streams.inbox)).toBeUndefined();
});

test('a topic that comes later is read, once, and goes again', () => {
  const streams = new Streams(keys, 'orders', ['a']);
  const stream = keys.topic('late');
  expect(streams.add('late')).toBe(stream);
  expect(streams.add('late')).toBeUndefined();
  expect(streams.topics).toEqual([keys.topic('a'), stream]);
  expect([streams.has(stream), streams.isLate(stream), streams.patternOf(stream)]).toEqual([
    true,
    true,
    'late',
  ]);
  expect(streams.remove(stream)).toBe(true);
  expect(streams.remove(stream)).toBe(false);
  expect(streams.all).toEqual([streams.inbox, keys.topic('a')]);
  expect(streams.patternOf(stream)).toBeUndefined();
});

test('neither the inbox nor a topic of its own pattern goes', () => {
  const streams = new Streams(keys, 'orders', ['a']);
  expect(streams.add('a')).toBeUndefined();
  expect(streams.remove(keys.topic('a'))).toBe(false);
  expect(streams.remove(streams.inbox)).toBe(false);
  expect(streams.all).toHaveLength(2);
});
