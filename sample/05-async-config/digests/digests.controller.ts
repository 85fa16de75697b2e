import { createHash } from 'node:crypto';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { RedisStreamsContext } from 'nestjs-redis-streams';
import { DIGEST, type Digest, type Document } from '../contracts.js';

@Controller()
export class DigestsController {
  @MessagePattern(DIGEST)
  digest(
    @Payload() { name, content, modified }: Document,
    @Ctx() { publishedAt }: RedisStreamsContext,
  ): Digest {
    return {
      name,
      sha256: createHash('sha256').update(content).digest(),
      year: modified.getUTCFullYear(),
      at: publishedAt,
    };
  }
}
