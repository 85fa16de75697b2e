import { setImmediate as settle } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { Slots } from '../../../lib/server/slots.js';

test('slots are free until the limit is reached', () => {
  const slots = new Slots(2);
  expect([slots.free, slots.isIdle, slots.whenFree()]).toEqual([2, true, undefined]);
  slots.take();
  expect([slots.free, slots.isIdle, slots.whenFree()]).toEqual([1, false, undefined]);
  slots.take();
  expect([slots.free, slots.isIdle]).toEqual([0, false]);
  expect(slots.whenFree()).toBeInstanceOf(Promise);
});

test('who waits for a slot goes on when one is given back, and not before', async () => {
  const slots = new Slots(1);
  slots.take();
  const order: string[] = [];
  const waiting = slots.whenFree()!.then(() => order.push('went on'));
  await settle();
  order.push('gave back');
  slots.release();
  await waiting;
  expect(order).toEqual(['gave back', 'went on']);
  expect(slots.whenFree()).toBeUndefined();
});

test('a slot taken past the limit has to be given back before there is room', async () => {
  const slots = new Slots(1);
  slots.take();
  slots.take();
  expect(slots.free).toBe(-1);
  let isFree = false;
  const waiting = slots.whenFree()!.then(() => (isFree = true));
  slots.release();
  await settle();
  expect(isFree).toBe(false);
  slots.release();
  await waiting;
  expect(slots.free).toBe(1);
});

test('idle is when the last slot is back', async () => {
  const slots = new Slots(3);
  await slots.whenIdle();
  slots.take();
  slots.take();
  const order: string[] = [];
  const waiting = slots.whenIdle().then(() => order.push('idle'));
  slots.release();
  await settle();
  order.push('one is left');
  slots.release();
  await waiting;
  expect(order).toEqual(['one is left', 'idle']);
  expect(slots.isIdle).toBe(true);
});

test('all slots come back, however many were used', () => {
  const slots = new Slots(8);
  for (let round = 0; round < 100; round++) {
    while (slots.free > 0) {
      slots.take();
    }
    while (!slots.isIdle) {
      slots.release();
    }
  }
  expect(slots.free).toBe(8);
});
