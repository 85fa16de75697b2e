import { Controller, type INestMicroservice, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { range, type Observable } from 'rxjs';
import type { BenchServer, Setup } from './system.js';
import type { Work } from './work.js';

/** What a handler's context may offer. */
interface Cancellable {
  readonly signal?: AbortSignal;
}

/** A Nest microservice with the handlers of the benchmark. */
export class NestServer implements BenchServer {
  private app: INestMicroservice | undefined;

  constructor(
    private readonly options: MicroserviceOptions,
    setup: Setup,
    work: Work,
    private readonly controller: Type = controllerFor(setup, work),
  ) {}

  async start(): Promise<void> {
    class ServerModule {}
    const module = { module: ServerModule, controllers: [this.controller] };
    this.app = await NestFactory.createMicroservice<MicroserviceOptions>(module, {
      ...this.options,
      logger: false,
    });
    await this.app.listen();
  }

  async close(): Promise<void> {
    await this.app?.close();
  }
}

/**
 * The handlers, with as many event patterns as were asked for.
 * @param answer what they return for a value
 */
export function controllerFor(
  { topics, variant }: Setup,
  work: Work,
  answer: (value: unknown) => unknown = (value) => value,
): Type {
  @Controller()
  class BenchController {
    @MessagePattern('sum')
    sum({ a, b }: { a: number; b: number }, context?: Cancellable): unknown {
      if (variant.signal && context?.signal?.aborted !== false) {
        throw new Error('The request was stopped, or its context has no signal');
      }
      return answer(work.sum(a, b));
    }

    @MessagePattern('echo')
    echo({ text }: { text: string }): unknown {
      return answer({ text });
    }

    @MessagePattern('count')
    count({ count }: { count: number }): Observable<number> {
      return range(0, count);
    }
  }
  if (variant.signal) {
    // Nest passes a context to handlers that ask for it in this way alone.
    Payload()(BenchController.prototype, 'sum', 0);
    Ctx()(BenchController.prototype, 'sum', 1);
  }
  for (let i = 0; i < topics; i++) {
    const name = `noted${i}`;
    const value = (data: object): void => work.note((data as { n: number }).n);
    const descriptor = { value, configurable: true };
    Object.defineProperty(BenchController.prototype, name, descriptor);
    EventPattern(`noted.${i}`)(BenchController.prototype, name, descriptor);
  }
  return BenchController;
}
