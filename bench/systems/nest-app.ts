import { Controller, type INestMicroservice, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, type MicroserviceOptions } from '@nestjs/microservices';
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
    private readonly setup: Setup,
    private readonly work: Work,
  ) {}

  async start(): Promise<void> {
    class ServerModule {}
    const module = { module: ServerModule, controllers: [controllerFor(this.setup, this.work)] };
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

/** The handlers, with as many event patterns as were asked for. */
export function controllerFor({ topics, variant }: Setup, work: Work): Type {
  @Controller()
  class BenchController {
    @MessagePattern('sum')
    sum({ a, b }: { a: number; b: number }, context: Cancellable): number {
      if (variant.signal && context.signal?.aborted !== false) {
        throw new Error('The request was stopped, or its context has no signal');
      }
      return work.sum(a, b);
    }

    @MessagePattern('echo')
    echo({ text }: { text: string }): { text: string } {
      return { text };
    }

    @MessagePattern('count')
    count({ count }: { count: number }): Observable<number> {
      return range(0, count);
    }
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
