import { setTimeout as pause } from 'node:timers/promises';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { RedisStreamsContext } from 'nestjs-redis-streams';
import { finalize, interval, map, Subject, take, type Observable } from 'rxjs';
import { BUILD_REPORT, SUM_REPORT, type Page, type ReportRequest } from '../contracts.js';

/** What each page and each row takes. */
const WORK_MS = 10;

/** A report that was not finished. */
export interface Stopped {
  title: string;
  /** How far it had come. */
  at: string;
  /** Why: the reason of the context's signal. */
  reason: Error;
}

@Controller()
export class ReportsController {
  /** Reports, as they are stopped. */
  readonly stopped = new Subject<Stopped>();

  /** An Observable needs no code for it: it is unsubscribed from when nobody waits for its values any more. */
  @MessagePattern(BUILD_REPORT)
  build(@Payload() { title, length }: ReportRequest, @Ctx() context: RedisStreamsContext): Observable<Page> {
    let number = 0;
    return interval(WORK_MS).pipe(
      take(length),
      map(() => ({ number: ++number, text: `${title}, page ${number} of ${length}` })),
      finalize(() => this.tellIfStopped(title, `page ${number}`, context.signal)),
    );
  }

  /** A promise cannot be stopped from outside: such a handler has to look at the signal. */
  @MessagePattern(SUM_REPORT)
  async sum(
    @Payload() { title, length }: ReportRequest,
    @Ctx() { signal }: RedisStreamsContext,
  ): Promise<number> {
    let sum = 0;
    let row = 0;
    while (row < length && !signal.aborted) {
      await pause(WORK_MS);
      sum += ++row;
    }
    this.tellIfStopped(title, `row ${row}`, signal);
    // Once the signal has aborted nobody gets this.
    return sum;
  }

  private tellIfStopped(title: string, at: string, signal: AbortSignal): void {
    if (signal.aborted) {
      this.stopped.next({ title, at, reason: signal.reason as Error });
    }
  }
}
