import { Injectable } from '@nestjs/common';
import type { ClientProxy } from '@nestjs/microservices';
import { InjectRedisStreamsClient } from 'nestjs-redis-streams';
import { firstValueFrom } from 'rxjs';
import { DIGEST, type Digest, type Document } from '../contracts.js';

export const DIGESTS = 'DIGESTS';

@Injectable()
export class DigestsClientService {
  constructor(@InjectRedisStreamsClient(DIGESTS) private readonly digests: ClientProxy) {}

  digest(document: Document): Promise<Digest> {
    return firstValueFrom(this.digests.send<Digest>(DIGEST, document));
  }
}
