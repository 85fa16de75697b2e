import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, Payload } from '@nestjs/microservices';
import { RedisStreamsContext } from 'nestjs-redis-streams';
import { ReplaySubject } from 'rxjs';
import { ALL_BELOW_FLAG, type FlagChange } from '../flag.js';

@Controller()
export class AuditController {
  /** What was written down. */
  readonly written = new ReplaySubject<string>();

  // Called in one instance of the service, and again until it has succeeded: also for topics that come later.
  @EventPattern<string>(ALL_BELOW_FLAG)
  write(@Payload() { on }: FlagChange, @Ctx() context: RedisStreamsContext): void {
    this.written.next(`${context.pattern} was switched ${on ? 'on' : 'off'}`);
  }
}
