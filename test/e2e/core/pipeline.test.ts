import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import {
  Catch,
  Controller,
  Injectable,
  ParseIntPipe,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import type {
  ArgumentsHost,
  CallHandler,
  CanActivate,
  ExceptionFilter,
  ExecutionContext,
  NestInterceptor,
  PipeTransform,
} from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { Observable, firstValueFrom, lastValueFrom, map, of, tap, throwError, toArray } from 'rxjs';
import { RedisStreamsClient, RedisStreamsContext } from '../../../lib/index.js';
import { closeAll, connect, serveModule } from '../../support/app.js';
import { RedisServer } from '../../support/redis-server.js';

const trace: string[] = [];

@Injectable()
class TokenGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    trace.push('guard');
    const rpc = context.switchToRpc();
    return (
      rpc.getContext<RedisStreamsContext>() instanceof RedisStreamsContext &&
      rpc.getData<unknown>() !== 'refused'
    );
  }
}

@Injectable()
class RpcGuard implements CanActivate {
  canActivate(): boolean {
    throw new RpcException({ code: 403, reason: 'no token' });
  }
}

@Injectable()
class DoublePipe implements PipeTransform<number, number> {
  transform(value: number): number {
    trace.push('pipe');
    return value * 2;
  }
}

@Injectable()
class AroundInterceptor implements NestInterceptor<string, string> {
  intercept(_context: ExecutionContext, next: CallHandler<string>): Observable<string> {
    trace.push('before');
    return next.handle().pipe(
      map((value) => `<${value}>`),
      tap({ complete: () => trace.push('after') }),
    );
  }
}

@Injectable()
class ShortCircuitInterceptor implements NestInterceptor {
  intercept(): Observable<string> {
    return of('from the interceptor');
  }
}

@Catch()
class ValueFilter implements ExceptionFilter {
  catch(error: Error, _host: ArgumentsHost): Observable<string> {
    return of(`saved from: ${error.message}`);
  }
}

@Catch()
class PlainFilter implements ExceptionFilter {
  catch(error: Error): string {
    return `plain: ${error.message}`;
  }
}

@Catch(RangeError)
class MappingFilter implements ExceptionFilter {
  catch(error: Error, host: ArgumentsHost): Observable<never> {
    const context = host.switchToRpc().getContext<RedisStreamsContext>();
    return throwError(() => ({ at: context.pattern, message: error.message }));
  }
}

@Catch()
class BrokenFilter implements ExceptionFilter {
  catch(): never {
    throw new Error('the filter itself fails');
  }
}

@Controller()
class PipelineController {
  @UseGuards(TokenGuard)
  @UseInterceptors(AroundInterceptor)
  @UsePipes(DoublePipe)
  @MessagePattern('all')
  all(@Payload() data: number): string {
    trace.push('handler');
    return `got ${data}`;
  }
  @UseGuards(TokenGuard)
  @MessagePattern('guarded')
  guarded(@Payload() data: string): string {
    trace.push('handler');
    return data;
  }
  @UseGuards(RpcGuard)
  @MessagePattern('rpc-guarded')
  rpcGuarded(): string {
    trace.push('handler');
    return 'never';
  }
  @MessagePattern('number')
  number(@Payload(ParseIntPipe) data: number): string {
    return typeof data;
  }
  @MessagePattern('validated')
  validated(@Payload({ transform: rejectAll }) data: unknown): unknown {
    return data;
  }
  @UseInterceptors(AroundInterceptor)
  @MessagePattern('mapped-stream')
  stream(): Observable<string> {
    return new Observable((subscriber) => {
      trace.push('subscribed');
      subscriber.next('a');
      subscriber.next('b');
      subscriber.complete();
    });
  }
  @UseInterceptors(ShortCircuitInterceptor)
  @MessagePattern('short')
  short(): string {
    trace.push('handler');
    return 'never';
  }
  @UseFilters(ValueFilter)
  @MessagePattern('filtered')
  filtered(): string {
    throw new Error('a fall');
  }
  @UseFilters(PlainFilter)
  @MessagePattern('filtered-plain')
  filteredPlain(): Promise<string> {
    return Promise.reject(new Error('a slip'));
  }
  @UseFilters(MappingFilter)
  @MessagePattern('filtered-to-error')
  filteredToError(): string {
    throw new RangeError('too far');
  }
  @UseFilters(BrokenFilter)
  @MessagePattern('broken-filter')
  brokenFilter(): string {
    throw new Error('hidden');
  }
}

function rejectAll(): never {
  throw new RpcException({ errors: ['name must be a string'] });
}

let redis: RedisServer;
let client: RedisStreamsClient;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  trace.length = 0;
  const options = { connection: redis.url, service: 'pipeline' };
  await serveModule(options, {
    controllers: [PipelineController],
  });
  client = connect(options);
});
afterEach(closeAll);
afterAll(() => redis.stop());

const ask = (pattern: string, data: unknown = {}): Promise<unknown> =>
  firstValueFrom(client.send<unknown>(pattern, data));

test('guard, interceptor, pipe and handler run in Nest’s order, once for each message', async () => {
  await expect(ask('all', 4)).resolves.toBe('<got 8>');
  expect(trace).toEqual(['guard', 'before', 'pipe', 'handler', 'after']);
});

test('what a guard refuses does not reach the handler, and the caller is told', async () => {
  await expect(ask('guarded', 'welcome')).resolves.toBe('welcome');
  trace.length = 0;
  await expect(ask('guarded', 'refused')).rejects.toEqual({ status: 'error', message: 'Forbidden resource' });
  await expect(ask('rpc-guarded')).rejects.toEqual({ code: 403, reason: 'no token' });
  expect(trace).toEqual(['guard']);
});

test('a pipe transforms the payload, and its refusal reaches the caller', async () => {
  await expect(ask('number', '12')).resolves.toBe('number');
  await expect(ask('number', 'twelve')).rejects.toEqual({
    status: 'error',
    message: 'Internal server error',
  });
  await expect(ask('validated', {})).rejects.toEqual({ errors: ['name must be a string'] });
});

test('an interceptor maps every value of a stream, and the handler is subscribed to once', async () => {
  await expect(lastValueFrom(client.send('mapped-stream', {}).pipe(toArray()))).resolves.toEqual([
    '<a>',
    '<b>',
  ]);
  expect(trace).toEqual(['before', 'subscribed', 'after']);
});

test('an interceptor may answer instead of the handler', async () => {
  await expect(ask('short')).resolves.toBe('from the interceptor');
  expect(trace).toEqual([]);
});

test('what an exception filter returns is a normal reply', async () => {
  await expect(ask('filtered')).resolves.toBe('saved from: a fall');
  await expect(ask('filtered-plain')).resolves.toBe('plain: a slip');
});

test('an error that an exception filter returns reaches the caller', async () => {
  await expect(ask('filtered-to-error')).rejects.toEqual({ at: 'filtered-to-error', message: 'too far' });
});

test('an exception filter that fails itself is an error for the caller, and harms nobody else', async () => {
  await expect(ask('broken-filter')).rejects.toEqual({ status: 'error', message: 'Internal server error' });
  await expect(ask('all', 1)).resolves.toBe('<got 2>');
});
