import { setImmediate as settle } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { Gate } from '../../../lib/util/gate.js';

test('an open gate costs no promise', () => {
  expect(new Gate(true).wait()).toBeUndefined();
});

test('a gate is shut unless it is said to be open', () => {
  expect(new Gate().isOpen).toBe(false);
});

test('all who wait go on when it opens, and not before', async () => {
  const gate = new Gate();
  const passed: number[] = [];
  const waiting = [1, 2, 3].map((n) => gate.wait()!.then(() => passed.push(n)));
  await settle();
  expect(passed).toEqual([]);
  gate.open();
  await Promise.all(waiting);
  expect(passed).toEqual([1, 2, 3]);
});

test('who waits goes on though it is shut again at once; who comes later waits', async () => {
  const gate = new Gate();
  const early = gate.wait();
  gate.open();
  gate.shut();
  const late = gate.wait()!;
  await early;
  let hasPassed = false;
  const passing = late.then(() => (hasPassed = true));
  await settle();
  expect([gate.isOpen, hasPassed]).toEqual([false, false]);
  gate.open();
  await passing;
});

test('opening and shutting twice does no harm', () => {
  const gate = new Gate();
  gate.shut();
  gate.open();
  gate.open();
  expect([gate.isOpen, gate.wait()]).toEqual([true, undefined]);
});
