import type { ClientProxy } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, reduce } from 'rxjs';
import { TOPIC, type BenchClient } from './system.js';

/** A client of any Nest transport. */
export class NestClient implements BenchClient {
  constructor(private readonly proxy: Pick<ClientProxy, 'connect' | 'send' | 'emit' | 'close'>) {}

  async connect(): Promise<void> {
    await this.proxy.connect();
  }

  request(a: number, b: number): Promise<number> {
    return firstValueFrom(this.proxy.send<number>('sum', { a, b }));
  }

  async echo(text: string): Promise<string> {
    return (await firstValueFrom(this.proxy.send<{ text: string }>('echo', { text }))).text;
  }

  async emit(n: number): Promise<void> {
    await lastValueFrom(this.proxy.emit<undefined>(TOPIC, { n }), { defaultValue: undefined });
  }

  stream(count: number): Promise<number> {
    const values = this.proxy.send<number>('count', { count });
    return lastValueFrom(values.pipe(reduce((sum, value) => sum + value, 0)));
  }

  async close(): Promise<void> {
    await this.proxy.close();
  }
}
