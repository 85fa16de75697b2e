import { setTimeout as pause } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { RedisStreamsDeadLetters } from 'nestjs-redis-streams';
import type { Order } from '../order.js';

const LOOK_EVERY_MS = 50;

/** Looks after what could not be billed. In real life a page for the operators, or an alarm. */
@Injectable()
export class UndertakerService {
  constructor(private readonly deadLetters: RedisStreamsDeadLetters) {}

  /** Resolves when there are this many dead letters; rejects when there are not in time. */
  async whenThereAre(count: number, withinMs: number): Promise<void> {
    const latest = performance.now() + withinMs;
    while ((await this.deadLetters.count()) < count) {
      if (performance.now() > latest) {
        throw new Error(`There are not ${count} dead letters within ${withinMs} ms`);
      }
      await pause(LOOK_EVERY_MS);
    }
  }

  async report(): Promise<void> {
    const { letters } = await this.deadLetters.list();
    for (const { data, reason, deliveries, errorName, errorMessage } of letters) {
      const { id } = JSON.parse(String(data)) as Order;
      console.log(
        `Dead letter: order ${id}, ${reason} at delivery ${deliveries}. ${errorName}: ${errorMessage}`,
      );
    }
  }

  /** Has those delivered again that may succeed now, to this service alone. */
  async replayFailed(): Promise<void> {
    const { letters } = await this.deadLetters.list();
    const failed = letters.filter(({ reason }) => reason === 'failed');
    console.log(`Replaying ${failed.length}`);
    await this.deadLetters.replay(failed.map(({ id }) => id));
  }

  async removeRest(): Promise<void> {
    const { letters } = await this.deadLetters.list();
    const { removed } = await this.deadLetters.remove(letters.map(({ id }) => id));
    console.log(`Removed ${removed.length}, left ${await this.deadLetters.count()}`);
  }
}
