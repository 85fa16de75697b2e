import { expect, test } from '@jest/globals';
import { Keys } from '../../../lib/redis/keys.js';

/** What a Redis Cluster hashes of a key: the text in its first braces, where there is some. */
function tagOf(key: string): string {
  return /\{(.+?)\}/.exec(key)?.[1] ?? key;
}

test('the keys of a namespace are those of the documentation', () => {
  const keys = new Keys('shop');
  expect({ ...keys, tag: undefined }).toEqual({
    namespace: 'shop',
    layout: '{shop:0}:layout',
    layoutLock: '{shop:0}:layout-lock',
    topics: '{shop:0}:topics',
    announce: '{shop:0}:announce',
    idle: '{shop:0}:idle',
    subscriptions: '{shop:0}:subscriptions',
    floors: '{shop:0}:floors',
    cancelled: '{shop:0}:cancelled',
    tag: undefined,
  });
  expect(keys.lease('orders', 'a-1-x')).toBe('{shop:0}:lease:orders:a-1-x');
  expect(keys.sweep('orders')).toBe('{shop:0}:sweep:orders');
  expect(keys.control('orders')).toBe('{shop:0}:control:orders');
  expect(keys.dead('orders')).toBe('{shop:0}:dead:orders');
  expect(keys.inbox('orders')).toBe('{shop:0}:inbox:orders');
  expect(keys.topic('order.placed')).toBe('{shop:0}:topic:order.placed');
  expect(keys.instances('orders')).toBe('{shop:0}:instances:orders');
  expect(keys.replies('a1')).toBe('shop:replies:a1');
});

test('what is read together lies in one slot, whatever a pattern looks like', () => {
  const keys = new Keys('shop', 3);
  const patterns = ['a', '{other}', '{"cmd":"sum"}', 'a}{b', '', '__proto__', 'a\nb'];
  const own = [
    keys.inbox('s'),
    keys.instances('s'),
    keys.lease('s', 'i'),
    keys.sweep('s'),
    keys.control('s'),
  ];
  const shared = [
    keys.layout,
    keys.topics,
    keys.announce,
    keys.dead('s'),
    keys.subscriptions,
    keys.floors,
    keys.cancelled,
  ];
  const all = [...own, ...shared, ...patterns.map((pattern) => keys.topic(pattern))];
  expect(new Set(all.map(tagOf))).toEqual(new Set(['shop:3']));
  expect(new Set(all).size).toBe(all.length);
});

test('the reply streams of clients spread over all slots: nothing ties them together', () => {
  const keys = new Keys('shop');
  expect(tagOf(keys.replies('a'))).not.toBe(tagOf(keys.replies('b')));
});

test('namespaces share no key', () => {
  const [a, b] = [new Keys('a'), new Keys('a:0')];
  const all = [a, b].flatMap((keys) => [
    keys.layout,
    keys.topics,
    keys.inbox('s'),
    keys.topic('inbox:s'),
    keys.instances('s'),
    keys.replies('c'),
  ]);
  expect(new Set(all).size).toBe(all.length);
});
