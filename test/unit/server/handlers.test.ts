import { expect, test } from '@jest/globals';
import type { MessageHandler } from '@nestjs/microservices';
import { Handlers } from '../../../lib/server/handlers.js';

function handler(): MessageHandler {
  return () => Promise.resolve();
}

test('a route without a handler has none, not even one named as a member of every object', () => {
  const handlers = new Handlers();
  for (const route of ['a', 'constructor', '__proto__', 'toString']) {
    expect(handlers.request(route)).toBeUndefined();
    expect(handlers.event(route)).toBeUndefined();
  }
  expect(handlers.eventRoutes).toEqual([]);
});

test('the last message handler of a route wins, and the caller is told that it replaced one', () => {
  const handlers = new Handlers();
  const [first, second] = [handler(), handler()];
  expect(handlers.add('a', first, false)).toBe(false);
  expect(handlers.add('a', second, false)).toBe(true);
  expect(handlers.request('a')).toBe(second);
});

test('all event handlers of a route are kept, in their order, and none is chained to another', () => {
  const handlers = new Handlers();
  const all = [handler(), handler(), handler()];
  expect(all.map((each) => handlers.add('a', each, true))).toEqual([false, false, false]);
  expect(handlers.event('a')).toEqual(all);
  expect(all.every((each) => each.next === undefined)).toBe(true);
});

test('a route may have handlers of both kinds, which do not meet', () => {
  const handlers = new Handlers();
  const [message, event] = [handler(), handler()];
  handlers.add('a', message, false);
  expect(handlers.add('a', event, true)).toBe(false);
  expect(handlers.request('a')).toBe(message);
  expect(handlers.event('a')).toEqual([event]);
});

test('event routes are those with an event handler, each once', () => {
  const handlers = new Handlers();
  for (const [route, isEvent] of [
    ['a', true],
    ['b', false],
    ['a', true],
    ['__proto__', true],
  ] as const) {
    handlers.add(route, handler(), isEvent);
  }
  expect(handlers.eventRoutes).toEqual(['a', '__proto__']);
});
