import { Controller } from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { from, type Observable } from 'rxjs';
import { BUILD_REPORT, type Progress, type ReportRequest } from '../contracts.js';

@Controller()
export class ReportsController {
  @MessagePattern(BUILD_REPORT)
  build(@Payload() request: ReportRequest): Observable<Progress> {
    return from(this.steps(request));
  }

  private async *steps({ title, rows }: ReportRequest): AsyncGenerator<Progress> {
    let total = 0;
    for (const [index, row] of rows.entries()) {
      total += await this.read(row);
      const isLast = index === rows.length - 1;
      yield {
        percent: Math.round((100 * (index + 1)) / rows.length),
        ...(isLast && { report: `${title}: ${rows.length} rows, ${total} in total` }),
      };
    }
  }

  /** Stands for work that takes a while. */
  private async read(row: string): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const value = Number(row);
    if (Number.isNaN(value)) {
      throw new RpcException(`The row '${row}' is not a number`);
    }
    return value;
  }
}
