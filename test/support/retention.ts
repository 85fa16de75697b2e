import { Controller, type Type } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import type { RedisStreamsServer } from '../../lib/index.js';
import type { RedisStreamsHooks, ReportName, RedisStreamsReports } from '../../lib/hooks.js';
import { eventually } from './wait.js';

export const SUBSCRIPTIONS = '{nest:0}:subscriptions';
export const FLOORS = '{nest:0}:floors';
export const TOPICS = '{nest:0}:topics';

/** The topic of a pattern. */
export function topicOf(pattern: string): string {
  return `{nest:0}:topic:${pattern}`;
}

/** A controller with one event handler. */
export function listener(pattern: string, handle: (data: number) => unknown): Type {
  @Controller()
  class Listener {
    @EventPattern<string>(pattern)
    on(@Payload() data: number): unknown {
      return handle(data);
    }
  }
  return Listener;
}

/** Writes events as a client would; resolves to their ids. */
export function publish(redis: Redis, pattern: string, ...numbers: number[]): Promise<string[]> {
  return Promise.all(
    numbers.map(
      async (n) => (await redis.xadd(topicOf(pattern), '*', 'pattern', pattern, 'data', String(n)))!,
    ),
  );
}

/** Whole numbers, the last one not included. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

/** Waits until a service has settled everything up to an entry, and a look at the topic has recorded that. */
export async function settledUpTo(redis: Redis, pattern: string, service: string, id: string): Promise<void> {
  const isSettled = async (): Promise<boolean> =>
    (await redis.hget(FLOORS, `${topicOf(pattern)} ${service}`)) === id;
  await eventually(isSettled, `'${service}' to have settled '${pattern}' up to ${id}`);
}

/** Waits until nothing is left of a topic. */
export async function expectEmpty(redis: Redis, pattern: string, withinMs = 2_500): Promise<void> {
  await eventually(
    async () => (await redis.xlen(topicOf(pattern))) === 0,
    `the topic '${pattern}' to be empty`,
    withinMs,
  );
}

/** Writes a subscription as an instance of another service does. */
export async function subscribeByHand(
  redis: Redis,
  service: string,
  pattern: string,
  agoMs = 0,
  forgetAfter?: number,
): Promise<void> {
  const [seconds] = await redis.time();
  const lastSeen = Number(seconds) * 1000 - agoMs;
  const value = forgetAfter === undefined ? `${lastSeen}` : `${lastSeen} ${forgetAfter}`;
  await redis
    .multi()
    .hset(SUBSCRIPTIONS, `${service} ${pattern}`, value)
    .hincrby(SUBSCRIPTIONS, 'version', 1)
    .exec();
}

/** What a server has reported under a name, as it comes. */
export function reportsOf<Name extends ReportName>(
  server: RedisStreamsServer,
  name: Name,
): RedisStreamsReports[Name][] {
  const { namespace } = server as unknown as { namespace: { hooks: RedisStreamsHooks } };
  const reports: RedisStreamsReports[Name][] = [];
  namespace.hooks.on(name, (report) => reports.push(report));
  return reports;
}

/** How often Redis has run these commands, those inside scripts included. */
export async function callsOf(redis: Redis, ...commands: string[]): Promise<number> {
  const stats = await redis.info('commandstats');
  let count = 0;
  for (const [, name = '', number] of stats.matchAll(/cmdstat_([\w|]+):calls=(\d+)/g)) {
    if (commands.includes(name.split('|')[0]!)) {
      count += Number(number);
    }
  }
  return count;
}
