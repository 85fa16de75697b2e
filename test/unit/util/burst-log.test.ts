import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { BurstLog } from '../../../lib/util/burst-log.js';

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

function recorded(): { lines: string[]; log: BurstLog } {
  const lines: string[] = [];
  return { lines, log: new BurstLog((line) => lines.push(line)) };
}

test('the first line of a burst is written at once, the rest as a number when it is over', () => {
  const { lines, log } = recorded();
  for (let i = 1; i <= 1000; i++) {
    log.report('Failures', `failure ${i}`);
  }
  expect(lines).toEqual(['failure 1']);
  jest.advanceTimersByTime(5_000);
  expect(lines).toEqual(['failure 1', 'Failures: 999 more, the last one: failure 1000']);
});

test('a line that stays alone is followed by nothing', () => {
  const { lines, log } = recorded();
  log.report('Failures', 'one');
  jest.advanceTimersByTime(60_000);
  log.report('Failures', 'two');
  expect(lines).toEqual(['one', 'two']);
});

test('kinds are counted apart', () => {
  const { lines, log } = recorded();
  log.report('A', 'a1');
  log.report('B', 'b1');
  log.report('A', 'a2');
  jest.advanceTimersByTime(5_000);
  expect(lines).toEqual(['a1', 'b1', 'a2']);
});

test('close() writes what is only counted, leaves no timer, and the log may be used again', () => {
  const { lines, log } = recorded();
  log.report('A', 'a1');
  log.report('A', 'a2');
  log.close();
  log.close();
  expect(jest.getTimerCount()).toBe(0);
  log.report('A', 'a3');
  expect(lines).toEqual(['a1', 'a2', 'a3']);
});
