import { Injectable } from '@nestjs/common';
import type { ClientProxy } from '@nestjs/microservices';
import { InjectRedisStreamsClient, RedisStreamsRecordBuilder } from 'nestjs-redis-streams';
import type { Observable } from 'rxjs';
import { BUILD_REPORT, SUM_REPORT, type Page, type ReportRequest } from '../contracts.js';

export const REPORTS = 'REPORTS';

@Injectable()
export class ReportsClientService {
  constructor(@InjectRedisStreamsClient(REPORTS) private readonly reports: ClientProxy) {}

  /** @param timeout milliseconds until its deadline, in place of the client's */
  build(request: ReportRequest, timeout?: number): Observable<Page> {
    return this.reports.send<Page>(BUILD_REPORT, within(request, timeout));
  }

  /** @param timeout milliseconds until its deadline, in place of the client's */
  sum(request: ReportRequest, timeout?: number): Observable<number> {
    return this.reports.send<number>(SUM_REPORT, within(request, timeout));
  }
}

function within(request: ReportRequest, timeout: number | undefined): unknown {
  return timeout === undefined ? request : new RedisStreamsRecordBuilder(request).setTimeout(timeout).build();
}
