import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, Payload } from '@nestjs/microservices';
import { RedisStreamsContext } from 'nestjs-redis-streams';
import { EACH_FLAG, featureOf, type FlagChange } from '../flag.js';
import { Flags } from './flags.js';

@Controller()
export class FlagsController {
  constructor(private readonly flags: Flags) {}

  // Called in each instance of the shop: the flags lie in the memory of each.
  @EventPattern<string>(EACH_FLAG, { broadcast: true })
  switched(@Payload() { on }: FlagChange, @Ctx() context: RedisStreamsContext): void {
    this.flags.set(featureOf(context.pattern), on);
  }
}
