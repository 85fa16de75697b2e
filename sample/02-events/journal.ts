import { Injectable } from '@nestjs/common';
import type { RedisStreamsContext } from 'nestjs-redis-streams';
import { ReplaySubject, type Observable } from 'rxjs';
import type { Order } from './order.js';

/** One event that one instance has handled. */
export interface JournalEntry {
  service: string;
  instance: string;
  orderId: number;
}

/** What an instance has handled, so that the sample can count it. */
@Injectable()
export class Journal {
  private readonly written = new ReplaySubject<JournalEntry>();

  /** Everything from the beginning, and what is still to come. */
  get entries(): Observable<JournalEntry> {
    return this.written;
  }

  write({ service, instance }: RedisStreamsContext, { id: orderId }: Order): void {
    this.written.next({ service, instance, orderId });
  }
}
