import Module, { register } from 'node:module';
import { pathToFileURL } from 'node:url';
import { IOREDIS_FILE } from './ioredis.js';

/* Loaded before everything else in a child that is to use another ioredis: `ioredis` means that file then. */

interface Resolver {
  _resolveFilename: (this: void, request: string, ...rest: unknown[]) => string;
}

const file = process.env[IOREDIS_FILE];
if (file === undefined) {
  throw new Error(`${IOREDIS_FILE} does not say which ioredis to load`);
}

// What is required.
const resolver = Module as unknown as Resolver;
const resolve = resolver._resolveFilename;
resolver._resolveFilename = (request, ...rest) => (request === 'ioredis' ? file : resolve(request, ...rest));

// What is imported.
const hook = `export const resolve = (specifier, context, next) =>
  specifier === 'ioredis'
    ? { url: ${JSON.stringify(pathToFileURL(file).href)}, format: 'commonjs', shortCircuit: true }
    : next(specifier, context);`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
