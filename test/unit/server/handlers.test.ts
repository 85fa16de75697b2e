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

test('an event has the handlers of its pattern and those of all wildcards that mean it, always in the same order', () => {
  const handlers = new Handlers();
  const [exact, one, many, other] = [eventHandler(), eventHandler(), eventHandler(), eventHandler()];
  handlers.addEvent('orders.>', many);
  handlers.addEvent('orders.created', exact);
  handlers.addEvent('orders.*', one);
  handlers.addEvent('payments.*', other);
  for (let i = 0; i < 2; i++) {
    expect(handlers.event('orders.created')).toEqual([exact, many, one]);
    expect(handlers.event('orders.created.eu')).toEqual([many]);
    expect(handlers.event('orders')).toBeUndefined();
    expect(handlers.event('toString')).toBeUndefined();
  }
});

test('handlers of broadcasts and others do not meet', () => {
  const handlers = new Handlers();
  const [one, each, wild] = [eventHandler(), eventHandler(), eventHandler()];
  handlers.addEvent('a.b', one);
  handlers.addBroadcast('a.b', each);
  handlers.addBroadcast('a.*', wild);
  expect(handlers.event('a.b')).toEqual([one]);
  expect(handlers.broadcast('a.b')).toEqual([each, wild]);
  expect(handlers.broadcast('a.c')).toEqual([wild]);
  expect(handlers.hasBroadcasts).toBe(true);
  expect(handlers.eventCount).toBe(2);
});

test('a topic lies in one shard, and a wildcard means topics in all', () => {
  const handlers = new Handlers();
  const topics = ['a', 'b', 'c', 'd', 'e', 'f'];
  topics.forEach((topic) => handlers.addEvent(topic, eventHandler()));
  handlers.addEvent('orders.*', eventHandler());
  const shards = [0, 1, 2].map((shard) => handlers.subscriptionsIn(shard, 3).durable);
  expect(shards.flatMap((shard) => shard.topics).sort()).toEqual(topics);
  expect(shards.map(({ wildcards }) => wildcards)).toEqual([['orders.*'], ['orders.*'], ['orders.*']]);
});

test('what is remembered of topics from outside is bounded', () => {
  const handlers = new Handlers();
  handlers.addEvent('orders.*', eventHandler());
  for (let i = 0; i < 25_000; i++) {
    handlers.event(`orders.${i}`);
    handlers.event(`nobody's ${i}`);
  }
  const { durable } = handlers as unknown as { durable: { found: Map<string, unknown> } };
  expect(durable.found.size).toBeLessThanOrEqual(10_000);
});
