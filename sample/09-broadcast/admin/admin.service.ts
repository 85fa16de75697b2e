import { Injectable } from '@nestjs/common';
import type { ClientProxy } from '@nestjs/microservices';
import { InjectRedisStreamsClient } from 'nestjs-redis-streams';
import { lastValueFrom } from 'rxjs';
import { patternOf, type FlagChange } from '../flag.js';

export const EVENTS = 'EVENTS';

@Injectable()
export class AdminService {
  constructor(@InjectRedisStreamsClient(EVENTS) private readonly events: ClientProxy) {}

  /** Resolves once Redis has stored the change. A publisher does not know who gets it, or how. */
  async turn(feature: string, on: boolean): Promise<void> {
    const change: FlagChange = { on };
    await lastValueFrom(this.events.emit(patternOf(feature), change), { defaultValue: undefined });
  }
}
