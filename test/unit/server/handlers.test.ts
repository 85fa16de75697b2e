import { expect, test } from '@jest/globals';
import type { MessageHandler } from '@nestjs/microservices';
import { Handlers, type EventHandler } from '../../../lib/server/handlers.js';

const retry: EventHandler['retry'] = { maxDeliveries: 1, backoff: { type: 'fixed', delay: 1 } };

function handler(): MessageHandler {
  return () => Promise.resolve();
}

function eventHandler(): EventHandler {
  return { handle: handler(), retry };
}

test('a route without a handler has none, not even one named as a member of every object', () => {
  const handlers = new Handlers();
  for (const route of ['a', 'constructor', '__proto__', 'toString']) {
    expect(handlers.request(route)).toBeUndefined();
    expect(handlers.event(route)).toBeUndefined();
  }
  expect(handlers.subscriptionsIn(0, 1).durable).toEqual({ topics: [], wildcards: [] });
});

test('the last message handler of a route wins, and the caller is told that it replaced one', () => {
  const handlers = new Handlers();
  const [first, second] = [handler(), handler()];
  expect(handlers.addRequest('a', first)).toBe(false);
  expect(handlers.addRequest('a', second)).toBe(true);
  expect(handlers.request('a')).toBe(second);
});

test('all event handlers of a route are kept, in their order, and none is chained to another', () => {
  const handlers = new Handlers();
  const all = [eventHandler(), eventHandler(), eventHandler()];
  all.forEach((each) => handlers.addEvent('a', each));
  expect(handlers.event('a')).toEqual(all);
  expect(all.every(({ handle }) => handle.next === undefined)).toBe(true);
});

test('a route may have handlers of both kinds, which do not meet', () => {
  const handlers = new Handlers();
  const [message, event] = [handler(), eventHandler()];
  handlers.addRequest('a', message);
  handlers.addEvent('a', event);
  expect(handlers.request('a')).toBe(message);
  expect(handlers.event('a')).toEqual([event]);
});

test('what a service subscribes to are the patterns with an event handler, each once', () => {
  const handlers = new Handlers();
  for (const [route, isEvent] of [
    ['a', true],
    ['b', false],
    ['a', true],
    ['__proto__', true],
  ] as const) {
    if (isEvent) {
      handlers.addEvent(route, eventHandler());
    } else {
      handlers.addRequest(route, handler());
    }
  }
  expect(handlers.subscriptionsIn(0, 1).durable).toEqual({ topics: ['a', '__proto__'], wildcards: [] });
  expect(handlers.eventCount).toBe(2);
});
