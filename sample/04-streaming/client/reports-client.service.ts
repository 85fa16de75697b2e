import { Injectable } from '@nestjs/common';
import type { ClientProxy } from '@nestjs/microservices';
import { InjectRedisStreamsClient } from 'nestjs-redis-streams';
import type { Observable } from 'rxjs';
import { BUILD_REPORT, type Progress, type ReportRequest } from '../contracts.js';

export const REPORTS = 'REPORTS';

@Injectable()
export class ReportsClientService {
  constructor(@InjectRedisStreamsClient(REPORTS) private readonly reports: ClientProxy) {}

  /** The request is sent at each subscription. Its timeout is for all values together, up to the completion. */
  build(request: ReportRequest): Observable<Progress> {
    return this.reports.send<Progress>(BUILD_REPORT, request);
  }
}
