import type { DynamicModule, INestApplicationContext, INestMicroservice } from '@nestjs/common';
import type { NestFactory as Factory } from '@nestjs/core';
import type { AsyncMicroserviceOptions, ClientProxy, CustomTransportStrategy } from '@nestjs/microservices';
import { of } from 'rxjs';
import { requireExtra } from '../extras.js';
import { controllerFor } from './nest-app.js';
import { NestClient } from './nest-client.js';
import type { BenchClient, BenchServer, Setup } from './system.js';
import type { Work } from './work.js';

/*
 * Runs on a Nest 11 of its own, as it loads files that Nest 12 does not export. In this version a handler must return
 * an Observable: a plain number makes it fail.
 */

interface Options {
  name: string;
  servers: string[];
}

/** What is used of the package, which is not there when this is compiled. */
interface Package {
  JetstreamServerModule: { forRoot(options: Options): DynamicModule };
  JetstreamClientModule: { forFeature(options: Options): DynamicModule };
  getJetStreamTransportToken: (name: string) => string | symbol;
}

const { JetstreamServerModule, JetstreamClientModule, getJetStreamTransportToken } = requireExtra<Package>(
  'jetstream',
  '@horizon-republic/nestjs-jetstream',
);

const { NestFactory } = requireExtra<{ NestFactory: typeof Factory }>('jetstream', '@nestjs/core');

export function createServer(setup: Setup, work: Work): BenchServer {
  return new JetStreamServer(setup, work);
}

class JetStreamServer implements BenchServer {
  private app: INestMicroservice | undefined;

  constructor(
    private readonly setup: Setup,
    private readonly work: Work,
  ) {}

  async start(): Promise<void> {
    class ServerModule {}
    const options = optionsFor(this.setup);
    const module = {
      module: ServerModule,
      imports: [JetstreamServerModule.forRoot(options)],
      controllers: [controllerFor(this.setup, this.work, of)],
    };
    this.app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(module, {
      useFactory: (transport: { strategy: CustomTransportStrategy }) => transport,
      inject: [getJetStreamTransportToken(options.name)],
      logger: false,
    });
    await this.app.listen();
  }

  async close(): Promise<void> {
    await this.app?.close();
  }
}

export function createClient(setup: Setup): BenchClient {
  return new JetStreamClient(setup);
}

class JetStreamClient implements BenchClient {
  private context: INestApplicationContext | undefined;
  private client: NestClient | undefined;

  constructor(private readonly setup: Setup) {}

  async connect(): Promise<void> {
    class ClientModule {}
    const options = optionsFor(this.setup);
    const module = { module: ClientModule, imports: [JetstreamClientModule.forFeature(options)] };
    this.context = await NestFactory.createApplicationContext(module, { logger: false });
    this.client = new NestClient(this.context.get<ClientProxy>(options.name, { strict: false }));
    await this.client.connect();
  }

  request(a: number, b: number): Promise<number> {
    return this.client!.request(a, b);
  }

  echo(payload: string): Promise<string> {
    return this.client!.echo(payload);
  }

  emit(n: number): Promise<void> {
    return this.client!.emit(n);
  }

  stream(count: number): Promise<number> {
    return this.client!.stream(count);
  }

  async close(): Promise<void> {
    await this.client?.close();
    await this.context?.close();
  }
}

function optionsFor({ port, service }: Setup): Options {
  return { name: service, servers: [`127.0.0.1:${port}`] };
}
